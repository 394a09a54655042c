//! `beckon.js` in something like a browser, which Node runs: what a page's calls become, and that nothing is lost or told twice.

use std::process::{Command, Stdio};

use reqwest::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::{Value, json};

use crate::collect::{SITE, Site};
use crate::skip::{Skip, or_skip};

/// What the page saw.
fn run(base: &str) -> Value {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/web/script.mjs");
    let ran = Command::new("node").args([page, base, SITE]).stdin(Stdio::null()).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

fn node() -> Result<(), Skip> {
    let ran = Command::new("node").arg("--version").stdin(Stdio::null()).output();
    ran.map(drop).map_err(|error| Skip::because(format!("node does not run ({error}); install Node.js 18 or newer")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_tells_what_happens_on_it() {
    if or_skip("a_page_tells_what_happens_on_it", node()).is_none() {
        return;
    }
    let site = Site::start().await;
    let base = site.base.clone();
    let saw = tokio::task::spawn_blocking(move || run(&base)).await.unwrap();
    let (visitor, next) = (&saw["visitor"], &saw["next"]);
    assert_ne!(visitor, next, "after a reset it is somebody else");
    let records: Vec<Value> = site.clickstream.take().into_iter().map(|(_, record)| record).collect();
    let of =
        |name: &str| -> Vec<&Value> { records.iter().filter(|it| it["event"] == name || it["type"] == name).collect() };

    let [early, late] = &of("Product Viewed")[..] else { panic!("{records:?}") };
    assert_eq!(
        (&early["anonymousId"], &early["properties"]["sku"], early.get("userId")),
        (visitor, &json!("s0"), None)
    );
    assert_eq!((&late["anonymousId"], &late["properties"]["sku"], late.get("userId")), (next, &json!("s2"), None));
    let [page] = &of("page")[..] else { panic!("{records:?}") };
    assert_eq!((&page["properties"]["path"], &page["properties"]["title"]), (&json!("/"), &json!("Home")));
    let [identify] = &of("identify")[..] else { panic!("{records:?}") };
    assert_eq!((&identify["userId"], &identify["anonymousId"]), (&json!("u1"), visitor));
    let [added] = &of("Product Added")[..] else { panic!("{records:?}") };
    assert_eq!((&added["userId"], &added["properties"]["price"]), (&json!("u1"), &json!("19.90")));
    let [alias] = &of("alias")[..] else { panic!("{records:?}") };
    assert_eq!((&alias["userId"], &alias["previousId"]), (&json!("u2"), &json!("u1")));

    assert_eq!((&saw["tries"], &saw["retried"], of("Retried").len()), (&json!(4), &json!(1), 1), "{saw}");
    assert_eq!((&saw["refusals"], of("Refused").len()), (&json!(1), 0), "{saw}");
    assert_eq!((&saw["left"], of("Left").len()), (&json!(true), 1), "{saw}");
    assert_eq!((of("Found").len(), &saw["forbidden"], of("Forbidden").len()), (1, &json!(1), 1), "{saw}");
    let batches: Vec<u64> = saw["batches"].as_array().unwrap().iter().map(|it| it.as_u64().unwrap()).collect();
    assert!(batches.len() > 2 && batches.iter().all(|chars| *chars < 20_000), "{batches:?}");
    assert_eq!(of("Many").len(), 120);
    let mut ids: Vec<_> = records.iter().map(|record| record["messageId"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), records.len(), "each is told once");
    assert!(site.letters().is_empty());
}

#[tokio::test]
async fn the_script_is_small_and_kept_for_a_while() {
    let site = Site::start().await;
    let answer = site.client.get(format!("{}/beckon.js", site.base)).send().await.unwrap();
    assert_eq!(answer.headers()[CONTENT_TYPE], "text/javascript; charset=utf-8");
    assert!(answer.headers()[CACHE_CONTROL].to_str().unwrap().contains("max-age=3600"));
    assert_eq!(answer.headers()["cross-origin-resource-policy"], "cross-origin");
    assert!(answer.text().await.unwrap().len() < 8 << 10);
}
