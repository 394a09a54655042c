//! What is told to who may read, and to nobody else.

use beckon::decision::DecisionId;
use beckon::mails::Mail;
use beckon::secret::Secret;
use std::sync::Arc;

use beckon::web::answer::{self, Api, Source, Told, TriggersAsked};
use beckon::web::{listen, routes, serve};
use reqwest::{Client, Response, StatusCode};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Says what it was asked.
pub struct Echo;

impl Source for Echo {
    fn kpis(&self) -> Told {
        Told::Json(r#"{"as_of":"2026-01-01T00:00:00.000Z"}"#.to_owned())
    }

    fn customer(&self, id: &str) -> Told {
        if id == "nobody" { Told::NotThere } else { Told::Json(format!("{id:?}")) }
    }

    fn triggers(&self, asked: &TriggersAsked) -> Told {
        Told::Json(format!("{:?} {:?} {}", asked.campaign, asked.after, asked.limit))
    }

    fn decision(&self, id: &str) -> Told {
        if id == "early" { Told::NotNow } else { Told::Failed }
    }

    fn flow(&self) -> Told {
        Told::Json("{}".to_owned())
    }

    fn mail(&self, _id: DecisionId) -> anyhow::Result<Option<Mail>> {
        Ok(None)
    }
}

async fn start() -> String {
    let api = Arc::new(Api { token: Secret::new(TOKEN.as_bytes()).unwrap(), is_open: false, source: Arc::new(Echo) });
    let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, routes(answer::routes(api)), std::future::pending()));
    format!("http://{address}/v1")
}

async fn ask(url: &str, authorization: Option<&str>) -> Response {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().build().unwrap();
    let request = client.get(url);
    let request = authorization.into_iter().fold(request, |request, value| request.header("authorization", value));
    request.send().await.unwrap()
}

#[tokio::test]
async fn who_has_the_token_is_told() {
    let url = format!("{}/kpis", start().await);
    for scheme in ["Bearer", "bearer"] {
        let answer = ask(&url, Some(&format!("{scheme} {TOKEN}"))).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        assert_eq!(answer.text().await.unwrap(), r#"{"as_of":"2026-01-01T00:00:00.000Z"}"#);
    }
}

#[tokio::test]
async fn who_has_not_is_told_nothing() {
    let base = start().await;
    let longer = format!("Bearer {TOKEN}0");
    for wrong in [None, Some(""), Some("Bearer "), Some("Bearer 0123456789abcdef"), Some(longer.as_str()), Some(TOKEN)]
    {
        for path in ["kpis", "customers/u1", "triggers", "decisions/1"] {
            let answer = ask(&format!("{base}/{path}"), wrong).await;
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path} {wrong:?}");
            assert_eq!(answer.headers()["www-authenticate"], "Bearer");
            assert_eq!(answer.text().await.unwrap(), "");
        }
    }
}

#[tokio::test]
async fn each_path_asks_for_its_own_and_says_how_it_went() {
    let base = start().await;
    let bearer = format!("Bearer {TOKEN}");
    let asked = async |path: &str| {
        let answer = ask(&format!("{base}/{path}"), Some(&bearer)).await;
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(asked("customers/a%2Fb%20%C3%BC").await, (200, r#""a/b ü""#.to_owned()));
    assert_eq!(asked("customers/nobody").await, (404, r#"{"error":"not_found"}"#.to_owned()));
    assert_eq!(asked("triggers").await, (200, "None None 100".to_owned()));
    let page = "triggers?campaign=a%20b&after=c&limit=5";
    assert_eq!(asked(page).await, (200, r#"Some("a b") Some("c") 5"#.to_owned()));
    assert_eq!(asked("triggers?limit=0").await.1, "None None 1");
    assert_eq!(asked("triggers?limit=999999").await.1, "None None 1000");
    assert_eq!(asked("triggers?limit=-1").await.0, 400);
    assert_eq!(asked("decisions/early").await, (503, r#"{"error":"catching_up"}"#.to_owned()));
    assert_eq!(asked("decisions/1").await, (500, r#"{"error":"failed"}"#.to_owned()));
}
