//! Apache Kafka's jars. In: nothing. Out: `target/kafka/jars`, and the `java` to run them with. Fails with a `Skip` where
//! there is no Java 17, no Maven, or no repository to be reached. Fetched once; later runs are offline.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::skip::Skip;

/// The oldest Java that a Kafka 4 broker runs on.
const JAVA_MAJOR_MIN: u32 = 17;

/// Pinned, so that a test which fails tomorrow doesn't fail for a new plug-in.
const COPY_DEPENDENCIES: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.11.0:copy-dependencies";

/// What Maven fetches. The jars are kept as long as this text stays the same: it lies beside them as the mark that
/// they are complete.
const POM: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>beckon</groupId>
  <artifactId>test-broker</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>4.4.0</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"#;

/// Where Kafka's jars and the brokers' directories lie: `kafka/` in the build's own target directory.
pub fn kafka_dir() -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().unwrap_or(tmp).join("kafka")
}

/// The `java` of `JAVA_HOME`, else of the path, if it is new enough.
pub fn java() -> Result<PathBuf, Skip> {
    let java = match std::env::var_os("JAVA_HOME") {
        Some(home) => Path::new(&home).join("bin/java"),
        None => PathBuf::from("java"),
    };
    let said = Command::new(&java).arg("-version").output().map_err(|error| {
        Skip::because(format!(
            "{} does not run ({error}); Apache Kafka needs a Java {JAVA_MAJOR_MIN} or newer",
            java.display()
        ))
    })?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    match java_major(&said) {
        Some(major) if major >= JAVA_MAJOR_MIN => Ok(java),
        _ => Err(Skip::because(format!(
            "Apache Kafka needs a Java {JAVA_MAJOR_MIN} or newer, and {} is: {}",
            java.display(),
            said.lines().next().unwrap_or("silent about its version")
        ))),
    }
}

/// The major version in what `java -version` says: `openjdk version "17.0.15" 2025-04-15`.
fn java_major(said: &str) -> Option<u32> {
    let quoted = said.split('"').nth(1)?;
    quoted.split(['.', '-', '+']).next()?.parse().ok()
}

/// The directory of Kafka's jars, fetched if this target directory has none yet. Test binaries that ask at the same
/// time wait for the first.
pub fn jars() -> Result<PathBuf, Skip> {
    let dir = kafka_dir();
    fetch_once(&dir).map_err(|error| {
        Skip::because(format!("Apache Kafka's jars can't be fetched into {}: {error}", dir.display()))
    })?;
    Ok(dir.join("jars"))
}

fn fetch_once(dir: &Path) -> Result<(), String> {
    let at = |error: std::io::Error| error.to_string();
    fs::create_dir_all(dir).map_err(at)?;
    let lock = File::create(dir.join("lock")).map_err(at)?;
    lock.lock().map_err(at)?; // released when the file closes, a crash included
    let jars = dir.join("jars");
    if fs::read_to_string(jars.join("pom.xml")).is_ok_and(|pom| pom == POM) {
        return Ok(());
    }
    let partial = dir.join("jars.partial");
    for stale in [&jars, &partial] {
        if stale.exists() {
            fs::remove_dir_all(stale).map_err(at)?;
        }
    }
    fs::create_dir_all(&partial).map_err(at)?;
    fs::write(partial.join("pom.xml"), POM).map_err(at)?;
    run_maven(&partial)?;
    fs::rename(&partial, &jars).map_err(at)
}

/// Copies what the pom in `dir` asks for into `dir`.
fn run_maven(dir: &Path) -> Result<(), String> {
    let maven = Command::new("mvn")
        .args(["-q", "-B", "-ntp", COPY_DEPENDENCIES])
        .args(["-DincludeScope=runtime", "-DoutputDirectory=."])
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("mvn does not run ({error}); install Maven 3, or set KAFKA_BOOTSTRAP"))?;
    if maven.status.success() {
        return Ok(());
    }
    Err(format!("mvn ended with {}: {}", maven.status, String::from_utf8_lossy(&maven.stdout).trim()))
}
