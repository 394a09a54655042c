//! The binary: exit codes, and where results go.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use beckon_datagen::STREAMS;

fn datagen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_datagen")).args(arguments).output().unwrap()
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_shop_is_written_to_seven_files_and_counted_on_standard_output() {
    let directory = tempfile::tempdir().unwrap();
    let out = |name: &str| text(&directory.path().join(name));
    let run =
        datagen(&["shop", "--out", &out("a"), "--records", "500", "--customers", "20", "--skus", "10", "--seed", "9"]);
    assert!(run.status.success(), "{run:?}");
    let lines = |stream: &str| {
        fs::read_to_string(directory.path().join("a").join(format!("{stream}.jsonl"))).unwrap().lines().count()
    };
    let total: usize = STREAMS.iter().map(|stream| lines(stream)).sum();
    assert_eq!(total, 500 + 20 + 10 + 13);
    let table = String::from_utf8(run.stdout).unwrap();
    let counted =
        table.lines().find_map(|line| line.strip_prefix("total")).and_then(|line| line.split_whitespace().next());
    assert_eq!(counted, Some("543"));
    assert!(String::from_utf8(run.stderr).unwrap().contains("seed 9"));
}

#[test]
fn packed_files_hold_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        let out = directory.path().join(name);
        let run = datagen(&["shop", "--out", &text(&out), "--mix", "bench", "--records", "400", "--compress", name]);
        assert!(run.status.success(), "{run:?}");
        out
    };
    let plain = fs::read(write("none").join("carts.jsonl")).unwrap();
    let zstd = zstd::decode_all(fs::File::open(write("zstd").join("carts.jsonl.zst")).unwrap()).unwrap();
    let mut gzip = Vec::new();
    let packed = fs::File::open(write("gzip").join("carts.jsonl.gz")).unwrap();
    std::io::copy(&mut flate2::read::MultiGzDecoder::new(packed), &mut gzip).unwrap();
    assert!(!plain.is_empty());
    assert_eq!(plain, zstd);
    assert_eq!(plain, gzip);
    // A second compression beside the first would be read as more of the same stream.
    let again = datagen(&["shop", "--out", &text(&directory.path().join("none")), "--compress", "zstd"]);
    assert_eq!(again.status.code(), Some(1));
}

#[test]
fn bad_use_is_2_and_a_failure_is_1() {
    for bad in [
        &["shop"][..],
        &["shop", "--out", "x", "--kafka", "y"],
        &["shop", "--out", "x", "--live"],
        &["shop", "--out", "x", "--for", "soon"],
        &["shop", "--out", "x", "--customers", "0"],
        &["esp", "--fail-429", "1.5"],
        &["load"],
        &["load", "--rate", "0"],
        &["load", "--rate", "10", "--for", "10ms"],
        &["load", "--rate", "10", "--beckon", "ftp://beckon"],
        &["load", "--rate", "10", "--p99-most", "1s"],
        &["otto", "file"],
        &["nonsense"],
        &[],
    ] {
        let run = datagen(bad);
        assert_eq!(run.status.code(), Some(2), "{bad:?}");
        assert!(run.stdout.is_empty() && !run.stderr.is_empty(), "{bad:?}");
    }
    let missing = datagen(&["otto", "/nowhere/sessions.jsonl", "--out", "/nowhere/out"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8(missing.stderr).unwrap().contains("/nowhere/sessions.jsonl"));
}

#[test]
fn help_teaches_by_example() {
    for command in ["shop", "esp", "load", "otto"] {
        let help = String::from_utf8(datagen(&[command, "--help"]).stdout).unwrap();
        assert!(help.contains("Example") && help.contains(&format!("datagen {command}")), "{help}");
    }
}

#[test]
fn an_esp_ends_by_itself_with_its_counts() {
    let run = datagen(&["esp", "--port", "0", "--for", "100ms", "--fail-500", "0.01"]);
    assert!(run.status.success(), "{run:?}");
    let counts = String::from_utf8(run.stdout).unwrap();
    assert!(counts.contains("keys accepted more than once"), "{counts}");
    assert!(String::from_utf8(run.stderr).unwrap().contains("http://127.0.0.1:"));
}
