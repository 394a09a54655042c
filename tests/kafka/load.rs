//! `datagen load` against `beckon run` and a real broker: the configuration that is made for it, a few seconds of a shop, and the report.

use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use beckon_datagen::STREAMS;
use beckon_datagen::cli::{Cli, run};
use clap::Parser;
use serde_json::Value;

use crate::broker::Broker;
use crate::service;

/// Partitions of each topic.
const PARTITIONS: i32 = 2;

/// An address on which nobody listens now.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// `campaigns/load.toml` with other addresses.
fn configure(directory: &Path, broker: &Broker, web: &str, esp: &str) {
    let campaigns = Path::new(env!("CARGO_MANIFEST_DIR")).join("campaigns");
    let shipped = std::fs::read_to_string(campaigns.join("load.toml")).unwrap();
    let templates = campaigns.join("templates");
    let ours = [
        ("\"templates\"", format!("{:?}", templates.to_str().unwrap())),
        ("\"../state/load\"", "\"state\"".to_owned()),
        ("\"localhost:9092\"", format!("{:?}", broker.bootstrap())),
        ("\"127.0.0.1:8080\"", format!("{web:?}")),
        ("\"http://127.0.0.1:9090\"", format!("\"http://{esp}\"")),
    ];
    let config = ours.iter().fold(shipped, |config, (from, to)| {
        assert_eq!(config.matches(&format!("= {from}")).count(), 1, "{from}");
        config.replace(&format!("= {from}"), &format!("= {to}"))
    });
    std::fs::write(directory.join("beckon.toml"), config).unwrap();
}

fn wait_for(web: &str, running: &mut service::Running, directory: &Path) {
    let began = Instant::now();
    while std::net::TcpStream::connect(web).is_err() {
        let log = || std::fs::read_to_string(directory.join("run.log")).unwrap();
        assert!(running.ended().is_none() && began.elapsed() < Duration::from_secs(60), "{}", log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A short load, all of which is read; its mails come once, and the report says so in all its forms.
pub fn a_load_is_measured(broker: &Broker) {
    STREAMS.iter().for_each(|stream| broker.create_topic(stream, PARTITIONS).unwrap());
    let directory = tempfile::tempdir().unwrap();
    let (web, esp, report) = (free_address(), free_address(), directory.path().join("report"));
    configure(directory.path(), broker, &web, &esp);
    let mut running = service::start(directory.path(), 1);
    wait_for(&web, &mut running, directory.path());
    let arguments = ["load", "--rate", "500", "--for", "3s", "--warm", "3s", "--customers", "300", "--skus", "50"];
    let places = ["--kafka", broker.bootstrap(), "--beckon", &web, "--esp", &esp, "--report", report.to_str().unwrap()];
    let command = Cli::parse_from(["datagen"].into_iter().chain(arguments).chain(places));

    let code = run(command);

    let log = std::fs::read_to_string(directory.path().join("run.log")).unwrap();
    let text = |name: &str| std::fs::read_to_string(report.join(name)).unwrap();
    let told: Value = serde_json::from_str(&text("report.json")).unwrap();
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS), "{told:#}\n{log}");
    let of =
        |pointer: &str| told.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer}: {told:#}"));
    assert!(of("/records/said") > 3_000.0, "{told:#}");
    assert_eq!(of("/records/read"), of("/records/said"), "{told:#}\n{log}");
    assert_eq!((of("/records/dead_letters"), of("/mails/twice")), (0.0, 0.0), "{told:#}");
    assert!((of("/throughput/read") - 500.0).abs() < 100.0, "{told:#}");
    // Of 1,500 records 75 are orders, and each is thanked for.
    assert!(of("/latency_ms/count") > 50.0 && of("/mails/taken") >= of("/latency_ms/count"), "{told:#}");
    assert!(of("/latency_ms/p50") < 2_000.0 && of("/lag_ms/count") >= 10.0, "{told:#}");
    if cfg!(target_os = "linux") {
        assert!(of("/memory_bytes/most") > 1e6 && of("/cpu/us_a_record") > 0.0, "{told:#}");
    }
    let total = format!("Total count    = {:>12}]", of("/latency_ms/count"));
    assert!(text("latency.hgrm").contains(&total) && text("lag.hgrm").starts_with("       Value     Percentile"));
    let page = text("index.html");
    assert_eq!(page.matches("<svg").count(), 5, "{page}");
    assert_eq!((page.matches("<figure").count(), page.matches("</figure>").count()), (5, 5));
    let outside = page.matches("://").count() - page.matches(&format!("http://{web}/")).count();
    assert!(outside == page.matches(&format!("http://{esp}")).count() && !page.contains("<script"), "{page}");
    assert!(running.interrupt().success());
}
