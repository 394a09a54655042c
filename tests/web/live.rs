//! Open-time content over HTTP: to whom it is shown, as what, and that it is made once a tick.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use beckon::decision::DecisionId;
use beckon::secret::Secret;
use beckon::tracking::{Does, Seal, Token};
use beckon::web::live::{self, Asked, Live, LiveApi, Shown};
use beckon::web::{listen, routes, serve};
use reqwest::{Client, Response};

/// Says which block was asked for, and counts how often.
#[derive(Default)]
struct Clock {
    as_of: AtomicU64,
    asked: AtomicU64,
}

impl Live for Clock {
    fn as_of(&self) -> u64 {
        self.as_of.load(Ordering::Relaxed)
    }

    fn show(&self, token: &Token, asked: &Asked) -> Option<Shown> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let text = format!("{} of {:?} for {}", asked.block, asked.sku, token.customer);
        let struck = Some("<b>24,90 €</b>".to_owned());
        (asked.block != "none").then(|| Shown { as_of: self.as_of(), text, struck })
    }
}

struct World {
    clock: Arc<Clock>,
    base: String,
    client: Client,
}

fn token(secret: &[u8], decision: u128, does: Does) -> String {
    let token = Token { decision: DecisionId(decision), customer: "<u1>".into(), does };
    Seal::of(&Secret::new(secret).unwrap()).seal(&token).unwrap()
}

const SECRET: &[u8] = b"a secret of the shop";

impl World {
    async fn start() -> World {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clock = Arc::new(Clock::default());
        clock.as_of.store(1_767_225_600_000, Ordering::Relaxed);
        let live = live::routes(LiveApi::new(Seal::of(&Secret::new(SECRET).unwrap()), clock.clone()));
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let base = format!("http://{}/live", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, routes(live), std::future::pending()));
        World { clock, base, client: Client::builder().no_proxy().build().unwrap() }
    }

    async fn get(&self, token: &str, block: &str) -> Response {
        self.client.get(format!("{}/{token}/{block}", self.base)).send().await.unwrap()
    }

    fn asked(&self) -> u64 {
        self.clock.asked.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn a_block_is_a_piece_of_html_or_a_picture_and_made_once_a_tick() {
    let world = World::start().await;
    let own = token(SECRET, 1, Does::Live);
    let html = world.get(&own, "stock?sku=s%201").await;
    assert_eq!(
        (html.status().as_u16(), &html.headers()["content-type"]),
        (200, &"text/html; charset=utf-8".parse().unwrap())
    );
    assert_eq!(html.headers()["x-beckon-as-of"], "2026-01-01T00:00:00.000Z");
    assert_eq!(html.headers()["cache-control"], "no-store");
    let text = html.text().await.unwrap();
    let expected = "<s>&lt;b&gt;24,90 €&lt;/b&gt;</s> stock of Some(&quot;s 1&quot;) for &lt;u1&gt;</span>\n";
    assert!(text.starts_with("<span data-as-of=\"2026-01-01T00:00:00.000Z\">") && text.ends_with(expected), "{text}");

    let picture = world.get(&own, "price.png").await;
    assert_eq!((picture.status().as_u16(), &picture.headers()["content-type"]), (200, &"image/png".parse().unwrap()));
    let first = picture.bytes().await.unwrap();
    assert!(first.starts_with(b"\x89PNG") && first.len() > 500, "{}", first.len());
    assert_eq!(world.asked(), 2);
    for _ in 0..5 {
        assert_eq!(world.get(&own, "price.png").await.bytes().await.unwrap(), first);
    }
    assert_eq!(world.asked(), 2, "within a tick it is the same");
    world.get(&token(SECRET, 2, Does::Live), "price.png").await;
    assert_eq!(world.asked(), 3, "of another mail it is another");
    world.clock.as_of.fetch_add(1_000, Ordering::Relaxed);
    let next = world.get(&own, "price.png").await;
    assert_eq!((next.headers()["x-beckon-as-of"].to_str().unwrap(), world.asked()), ("2026-01-01T00:00:01.000Z", 4));
}

#[tokio::test]
async fn who_has_no_link_of_ours_sees_nothing_and_no_broken_picture() {
    let world = World::start().await;
    let cut = token(SECRET, 1, Does::Live);
    let strangers = [
        token(b"a secret of another", 1, Does::Live),
        token(SECRET, 1, Does::Open),
        token(SECRET, 1, Does::Unsubscribe),
        token(SECRET, 1, Does::Click("https://shop.example".into())),
        cut[..cut.len() - 1].to_owned(),
        "x".to_owned(),
    ];
    for stranger in strangers {
        let html = world.get(&stranger, "stock").await;
        assert_eq!((html.status().as_u16(), html.text().await.unwrap()), (404, String::new()));
        let picture = world.get(&stranger, "stock.png").await;
        assert_eq!(picture.status().as_u16(), 404);
        assert!(picture.bytes().await.unwrap().starts_with(b"GIF89a"));
    }
    assert_eq!(world.asked(), 0);
    // Nor is there anything of what says nothing.
    assert_eq!(world.get(&cut, "none").await.status().as_u16(), 404);
    assert!(world.get(&cut, "none.png").await.bytes().await.unwrap().starts_with(b"GIF89a"));
}
