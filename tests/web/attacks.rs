//! What is tried against the collector by who means it no good: none of it is taken, stops it, or makes it say what it should not.

use std::time::{Duration, Instant};

use beckon::web::Limits;
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::collect::{SITE, Setting, Site, assert_refused, gzip};

/// A message that would be taken.
const PAGE: &str = r#"{"type":"page","userId":"u1"}"#;

/// Writes `request` as it stands, and reads until the connection ends or nothing comes for a while.
async fn raw(site: &Site, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(site.base.trim_start_matches("http://")).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(1), stream.read_to_end(&mut answer));
    let _ = read.await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// The credentials of the site's key, as a head has them.
fn basic() -> String {
    use base64::Engine;
    format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(format!("{SITE}:")))
}

#[tokio::test]
async fn without_a_key_nothing_is_taken() {
    let site = Site::start().await;
    let longer = format!("{SITE}4");
    for key in ["", "x", &SITE[1..], &SITE[..SITE.len() - 1], &longer, &SITE.to_uppercase(), "' OR 1=1 --"] {
        let answer = site.post("/v1/track", key).body(PAGE).send().await.unwrap();
        assert_refused(answer, StatusCode::UNAUTHORIZED, "unauthorized").await;
        let in_body = json!({"writeKey": key, "batch": [{"type": "page", "userId": "u1"}]});
        let answer = site.client.post(format!("{}/v1/batch", site.base)).json(&in_body).send().await.unwrap();
        assert_refused(answer, StatusCode::UNAUTHORIZED, "unauthorized").await;
    }
    for head in
        [format!("Bearer {SITE}"), SITE.to_owned(), basic().replace("Basic", "Basic Basic"), "Basic %".to_owned()]
    {
        // A sound key in the body does not make good for a wrong one in the head.
        let body = json!({"writeKey": SITE, "batch": []});
        let request = site.client.post(format!("{}/v1/batch", site.base)).header(AUTHORIZATION, head).json(&body);
        assert_refused(request.send().await.unwrap(), StatusCode::UNAUTHORIZED, "unauthorized").await;
    }
    let (length, basic) = (PAGE.len(), basic());
    let twice = format!(
        "POST /v1/page HTTP/1.1\r\nHost: x\r\nAuthorization: {basic}\r\nAuthorization: {basic}\r\nContent-Length: {length}\r\n\r\n{PAGE}"
    );
    assert!(raw(&site, twice.as_bytes()).await.starts_with("HTTP/1.1 401"));
    assert!(site.clickstream.take().is_empty());
}

#[tokio::test]
async fn a_body_that_is_too_large_is_not_taken_however_it_is_sent() {
    let site = Site::start().await;
    let padded = |bytes: usize| format!("{{\"batch\":[]{}}}", " ".repeat(bytes - 12));
    let most = 500 << 10;
    let answer = site.post("/v1/batch", SITE).body(padded(most)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let answer = site.post("/v1/batch", SITE).body(padded(most + 1)).send().await.unwrap();
    assert_refused(answer, StatusCode::PAYLOAD_TOO_LARGE, "too_large").await;
    let gzipped = site.post("/v1/batch", SITE).header(CONTENT_ENCODING, "gzip").body(gzip(padded(most).as_bytes()));
    assert_eq!(gzipped.send().await.unwrap().status(), StatusCode::OK);
    let gzipped = site.post("/v1/batch", SITE).header(CONTENT_ENCODING, "gzip").body(gzip(padded(most + 1).as_bytes()));
    assert_refused(gzipped.send().await.unwrap(), StatusCode::PAYLOAD_TOO_LARGE, "too_large").await;

    let basic = basic();
    let head = format!("POST /v1/batch HTTP/1.1\r\nHost: x\r\nAuthorization: {basic}\r\n");
    let declared = raw(&site, format!("{head}Content-Length: 99999999999999\r\n\r\n").as_bytes()).await;
    assert!(declared.starts_with("HTTP/1.1 413"), "{declared}");
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(9));
    let chunked = raw(&site, chunked.as_bytes()).await;
    assert!(chunked.starts_with("HTTP/1.1 413"), "{chunked}");

    let message = format!(r#"{{"userId":"u","properties":{{"x":"{}"}}}}"#, "x".repeat(32 << 10));
    let answer = site.post("/v1/track", SITE).body(message).send().await.unwrap();
    assert_refused(answer, StatusCode::PAYLOAD_TOO_LARGE, "too_large").await;
}

#[tokio::test]
async fn a_bomb_is_decompressed_no_further_than_a_body_may_be_long() {
    let site = Site::start().await;
    // A quarter of a GiB of blanks is a quarter of a MiB of gzip.
    let bomb = gzip(&vec![b' '; 256 << 20]);
    assert!(bomb.len() < 500 << 10, "{}", bomb.len());
    let began = Instant::now();
    for _ in 0..20 {
        let request = site.post("/v1/batch", SITE).header(CONTENT_ENCODING, "gzip").body(bomb.clone());
        assert_refused(request.send().await.unwrap(), StatusCode::PAYLOAD_TOO_LARGE, "too_large").await;
    }
    // Whole, 20 of them are 5 GiB, which nobody decompresses in so short a time.
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let twice = site.post("/v1/batch", SITE).header(CONTENT_ENCODING, "gzip, gzip").body(gzip(&bomb));
    assert_eq!(twice.send().await.unwrap().status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    for encoding in ["br", "zstd", "deflate", "x"] {
        let request = site.post("/v1/batch", SITE).header(CONTENT_ENCODING, encoding).body(bomb.clone());
        assert_eq!(request.send().await.unwrap().status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{encoding}");
    }
    for broken in [&bomb[..bomb.len() / 2], b"{\"batch\":[]}", b"\x1f\x8b", b""] {
        let request = site.post("/v1/batch", SITE).header(CONTENT_ENCODING, "gzip").body(broken.to_vec());
        let status = request.send().await.unwrap().status();
        assert!(status.is_client_error(), "{status}");
    }
    let deep = format!(r#"{{"userId":"u","properties":{}{}}}"#, "[".repeat(15_000), "]".repeat(15_000));
    let answer = site.post("/v1/track", SITE).body(deep).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(site.letters().last().unwrap()["kind"], "not_json");
    assert!(site.clickstream.take().is_empty());
}

#[tokio::test]
async fn who_is_slow_is_shut_out_and_others_are_answered_meanwhile() {
    let second = Duration::from_secs(1);
    let limits = Limits { connections_max: 20, head_within: second, taken_within: second, end_within: second };
    let site = Site::with(Setting { limits, queue_bytes: 4 << 20, ..Setting::default() }).await;
    let address = site.base.trim_start_matches("http://").to_owned();
    let mut slow = Vec::new();
    for number in 0..20 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        // Some say nothing, some a part of a head.
        if number % 2 == 0 {
            stream.write_all(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
        }
        slow.push(stream);
    }
    // All places are taken, and free again when the slow ones' time is over.
    let began = Instant::now();
    let answer = site.post("/v1/page", SITE).body(PAGE).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(began.elapsed() > second / 2 && began.elapsed() < 4 * second, "{:?}", began.elapsed());
    for mut stream in slow {
        let ended = tokio::time::timeout(4 * second, stream.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "a silent connection is still open");
    }
}

#[tokio::test]
async fn bodies_that_drip_are_given_up_and_take_no_room_meanwhile() {
    let site = Site::with(Setting { queue_bytes: 5_000, ..Setting::default() }).await;
    let head =
        format!("POST /v1/batch HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nContent-Length: 500000\r\n\r\n{{", basic());
    let mut dripping = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(site.base.trim_start_matches("http://")).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let (reading, mut writing) = stream.into_split();
        let drip = tokio::spawn(async move {
            while writing.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        dripping.push((reading, drip));
    }
    let answer = site.post("/v1/page", SITE).body(PAGE).send().await.unwrap();
    assert_eq!((answer.status(), site.clickstream.take().len()), (StatusCode::OK, 1));
    for (mut reading, drip) in dripping {
        let mut answer = String::new();
        let read = tokio::time::timeout(Duration::from_secs(14), reading.read_to_string(&mut answer)).await;
        assert!(read.is_ok(), "the connection is still open");
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        drip.abort();
    }
    assert!(site.clickstream.take().is_empty());
}

#[tokio::test]
async fn only_the_paths_that_are_there_answer() {
    let site = Site::start().await;
    let basic = basic();
    for path in [
        "/v1/batch/",
        "//v1/batch",
        "/v1//batch",
        "/v1/BATCH",
        "/v1/%62atch",
        "/v1/batch%00",
        "/v1/../v1/batch",
        "/v1/./batch",
        "/v1/track/../batch",
        "/v1/import",
        "/v1",
        "/beckon.js/",
        "/beckon.js/../../Cargo.toml",
        "/..%2f..%2fetc%2fpasswd",
        "/.env",
        "/src/web/collect/beckon.js",
        "/v1/batch;x=1",
        "/v1\\batch",
    ] {
        for method in ["POST", "GET"] {
            let length = PAGE.len();
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {basic}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{PAGE}"
            );
            let answer = raw(&site, request.as_bytes()).await;
            let refused = answer.starts_with("HTTP/1.1 404") || answer.starts_with("HTTP/1.1 400");
            assert!(refused, "{method} {path}: {answer}");
        }
    }
    for method in ["PUT", "DELETE", "TRACE", "PATCH"] {
        let request =
            format!("{method} /v1/page HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        let answer = raw(&site, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{method}: {answer}");
    }
    let overridden = site.client.get(format!("{}/v1/page", site.base)).header("x-http-method-override", "POST");
    assert_eq!(overridden.body(PAGE).send().await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(site.clickstream.take().is_empty());
}

#[tokio::test]
async fn heads_that_could_be_read_in_two_ways_are_refused() {
    let site = Site::start().await;
    let (basic, length) = (basic(), PAGE.len());
    let head = format!("POST /v1/page HTTP/1.1\r\nHost: x\r\nAuthorization: {basic}\r\n");
    let smuggled = format!(
        "0\r\n\r\nPOST /v1/page HTTP/1.1\r\nHost: x\r\nAuthorization: {basic}\r\nContent-Length: {length}\r\n\r\n{PAGE}"
    );
    for request in [
        // Two lengths; a length and chunks; a length that is none; a name with a blank; a head folded over lines; a NUL in a value.
        format!("{head}Content-Length: {length}\r\nContent-Length: 5\r\n\r\n{PAGE}"),
        format!("{head}Content-Length: +{length}\r\n\r\n{PAGE}"),
        format!("{head}Content-Length : {length}\r\n\r\n{PAGE}"),
        format!("{head}X: a\r\n b\r\nContent-Length: {length}\r\n\r\n{PAGE}"),
        format!("{head}X: a\0b\r\nContent-Length: {length}\r\n\r\n{PAGE}"),
        format!("{head}Transfer-Encoding: xchunked\r\n\r\n{smuggled}"),
        format!("{head}Transfer-Encoding: chunked, identity\r\n\r\n{smuggled}"),
        "POST /v1/page\r\n\r\n".to_owned(),
        format!("{head}X: {}\r\nContent-Length: {length}\r\n\r\n{PAGE}", "x".repeat(64 << 10)),
        format!("{head}{}Content-Length: {length}\r\n\r\n{PAGE}", "X: y\r\n".repeat(500)),
    ] {
        let answer = raw(&site, request.as_bytes()).await;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(status.starts_with('4') || answer.is_empty(), "{}: {answer}", &request[..300.min(request.len())]);
        assert!(!answer.contains("HTTP/1.1 200"), "{answer}");
        assert!(site.clickstream.take().is_empty(), "{}", &request[..300.min(request.len())]);
    }
    // Chunks count before a length (RFC 9112 §6.3), and what follows them is no request of its own.
    let both = format!("{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{smuggled}");
    let answer = raw(&site, both.as_bytes()).await;
    assert!(!answer.contains("HTTP/1.1 200"), "{answer}");
    assert!(site.clickstream.take().is_empty());
}

#[tokio::test]
async fn every_answer_has_the_headers_that_keep_a_browser_safe() {
    let site = Site::start().await;
    let answers = [
        site.post("/v1/page", SITE).body(PAGE).send().await.unwrap(),
        site.post("/v1/page", "wrong").body(PAGE).send().await.unwrap(),
        site.client.get(format!("{}/beckon.js", site.base)).send().await.unwrap(),
        site.client.get(format!("{}/p.gif", site.base)).send().await.unwrap(),
        site.client.get(format!("{}/<script>alert(1)</script>", site.base)).send().await.unwrap(),
    ];
    for answer in answers {
        let head = answer.headers();
        assert_eq!(head["x-content-type-options"], "nosniff");
        assert!(head["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
        assert_eq!(
            (&head["x-frame-options"], &head["referrer-policy"]),
            (&"DENY".parse().unwrap(), &"no-referrer".parse().unwrap())
        );
        assert!(!answer.text().await.unwrap().contains("<script>"));
    }
}
