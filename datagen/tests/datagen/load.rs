//! A load test of a service that is not there, on Kafka's mock cluster: what it says of one that does not answer, before and meanwhile.

use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use beckon_datagen::load::{self, Limits, LoadError, Plan, Report};
use beckon_datagen::shop::{Mix, ShopConfig};
use rdkafka::mocking::MockCluster;

/// Ticks and lateness of the service.
const TICK_MS: u64 = 1_000;

/// A service that claims to have read a million records and to close its ticks in time; while `silent` it answers 503.
async fn pretend(silent: Arc<AtomicBool>) -> String {
    let looks = Arc::new(AtomicU64::new(0));
    let answer = move || {
        let (silent, look) = (silent.load(Ordering::Relaxed), looks.fetch_add(1, Ordering::Relaxed));
        async move {
            let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
            let closed_s = (now_ms / TICK_MS) as f64 + 0.999;
            let records = if look == 0 { 0 } else { 1_000_000 + look };
            let told = format!(
                "beckon_tick_seconds 1\nbeckon_allowed_lateness_seconds 0\nbeckon_tick_closed_seconds {closed_s}\n\
                 beckon_records_total{{stream=\"carts\"}} {records}\nprocess_resident_memory_bytes 5e6\n"
            );
            if silent { Err(StatusCode::SERVICE_UNAVAILABLE) } else { Ok(told) }
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/metrics", get(answer))).await });
    url
}

fn plan(kafka: &str, beckon: &str) -> Plan {
    let shop =
        ShopConfig { customers: 20, skus: 10, records_per_second: 200.0, mix: Mix::Bench, ..ShopConfig::default() };
    Plan {
        kafka: kafka.to_owned(),
        beckon: beckon.parse().unwrap(),
        shop,
        warm: Duration::from_millis(500),
        lasting: Duration::from_secs(3),
        esp: None,
        limits: Limits::default(),
    }
}

/// Runs it, and does something after so long.
fn run(plan: &Plan, after: Duration, act: impl FnOnce(&AtomicBool) + Send) -> Result<Report, LoadError> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(after);
            act(&stop);
        });
        load::run(plan, &stop, &|_| ())
    })
}

#[test]
fn a_service_that_is_away_for_a_while_leaves_a_gap_and_its_lag_counts() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (cluster, silent) = (MockCluster::new(1).unwrap(), Arc::new(AtomicBool::new(false)));
    let url = runtime.block_on(pretend(silent.clone()));
    let mut plan = plan(&cluster.bootstrap_servers(), &url);
    plan.limits.lag = Some(Duration::from_millis(300));
    let report = run(&plan, Duration::from_millis(1_200), |_| {
        silent.store(true, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(1_500));
        silent.store(false, Ordering::Relaxed);
    });
    let report = report.unwrap();
    let notes = report.notes.join("\n");
    assert!(notes.contains("did not answer for") && notes.contains("somebody else writes"), "{notes}");
    assert!(report.samples.iter().filter(|sample| sample.service.is_none()).count() >= 4);
    let lag = report.lag_ms.unwrap();
    assert!((500..3_000).contains(&lag.max) && lag.count >= 11, "{lag:?}");
    assert!(report.faults.len() == 1 && report.faults[0].contains("--lag-most 300 ms"), "{:?}", report.faults);
    assert!(report.latency_ms.is_none() && report.cpu.is_none());
    assert_eq!(report.memory_bytes.unwrap().most, 5_000_000);
}

#[test]
fn one_that_is_ended_reports_what_was_measured_or_says_that_nothing_was() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cluster = MockCluster::new(1).unwrap();
    let url = runtime.block_on(pretend(Arc::default()));
    let plan = plan(&cluster.bootstrap_servers(), &url);
    let stop = |stop: &AtomicBool| stop.store(true, Ordering::Relaxed);
    let report = run(&plan, Duration::from_millis(2_000), stop).unwrap();
    assert!(report.notes.join("\n").contains("It was ended after"), "{:?}", report.notes);
    assert!((1.0..2.0).contains(&report.measured.seconds()), "{:?}", report.measured);
    let nothing = run(&plan, Duration::from_millis(100), stop);
    assert!(matches!(nothing, Err(LoadError::Nothing)), "{nothing:?}");
}

fn datagen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_datagen")).arg("load").args(arguments).output().unwrap()
}

#[test]
fn what_cannot_be_reached_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let report = ["--report", report.to_str().unwrap()];
    let began = Instant::now();
    let nobody = datagen(&[&["--rate", "10", "--beckon", "127.0.0.1:1"][..], &report].concat());
    let said = String::from_utf8(nobody.stderr).unwrap();
    assert!(nobody.status.code() == Some(1) && began.elapsed() < Duration::from_secs(5), "{said}");
    assert!(said.contains("http://127.0.0.1:1/metrics") && said.contains("start the service first"), "{said}");

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = runtime.block_on(pretend(Arc::default()));
    let other = datagen(&[&["--rate", "10", "--beckon", &format!("{url}/elsewhere")][..], &report].concat());
    let said = String::from_utf8(other.stderr).unwrap();
    assert!(other.status.code() == Some(1) && said.contains("is it a `beckon run`"), "{said}");

    let no_kafka = datagen(&[&["--rate", "10", "--beckon", &url, "--kafka", "127.0.0.1:1"][..], &report].concat());
    let said = String::from_utf8(no_kafka.stderr).unwrap();
    assert!(no_kafka.status.code() == Some(1) && said.contains("no Kafka broker answered at '127.0.0.1:1'"), "{said}");
}
