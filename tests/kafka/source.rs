//! Partitions that are read on a real broker: what says that one has ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use beckon::cluster::Share;
use beckon::source::kafka::{self, Extent};
use beckon::source::{Partition, Read};
use beckon_dataflows::model::Stream;

use crate::broker::Broker;

/// Longer than a partition is believed to have ended without that being said again.
const LONG: Duration = Duration::from_secs(3);

/// How long anything may take.
const WITHIN: Duration = Duration::from_secs(60);

/// Records and whether the partition is at its end, of one reading.
fn read(partition: &mut dyn Partition) -> (usize, bool) {
    match partition.read(Duration::from_millis(20)).unwrap() {
        Read::Block(block) => (block.bytes.len(), false),
        Read::Idle { caught_up } => (0, caught_up),
        Read::End => panic!("a topic never ends"),
    }
}

/// Reads until the partition is at its end or no longer, as asked. The bytes that came.
fn read_until(partition: &mut dyn Partition, at_end: bool) -> usize {
    let (began, mut bytes) = (Instant::now(), 0);
    loop {
        let (came, caught_up) = read(partition);
        bytes += came;
        if caught_up == at_end && came == 0 {
            return bytes;
        }
        assert!(began.elapsed() < WITHIN, "still not at its end: {at_end}");
    }
}

/// An hour's deadlines may fire while nothing comes, but not while nobody can say whether anything would come: an order may be there
/// that was acknowledged to the shop.
pub fn a_partition_has_ended_as_long_as_its_broker_says_so(mut broker: Broker) {
    broker.create_topic("orders", 1).unwrap();
    broker.produce("orders", &[("a", "12345")]).unwrap();
    let topics = [(Stream::Orders, "orders".to_owned())];
    let opened =
        kafka::open(broker.bootstrap(), &topics, Extent::Endless, Share::ALL, &|_, _| None, Arc::new(|| ())).unwrap();
    let [mut partition] = <[_; 1]>::try_from(opened).ok().expect("one partition");
    let partition = &mut *partition;
    assert_eq!(read_until(partition, true), 5);

    let quiet = Instant::now();
    while quiet.elapsed() < LONG {
        assert_eq!(read(partition), (0, true), "it stays at its end while nothing comes");
    }

    broker.kill().unwrap();
    read_until(partition, false);
    let away = Instant::now();
    while away.elapsed() < LONG {
        assert_eq!(read(partition), (0, false), "the broker is not there to say so");
    }

    broker.restart().unwrap();
    broker.produce("orders", &[("b", "6789")]).unwrap();
    let began = Instant::now();
    let mut bytes = 0;
    while bytes < 4 {
        bytes += read(partition).0;
        assert!(began.elapsed() < WITHIN, "what came while the broker was back is not read");
    }
    assert_eq!(read_until(partition, true), 0, "nothing is read twice");
}
