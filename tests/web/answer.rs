//! What is told to who may read, and to nobody else.

use beckon::secret::Secret;
use beckon::web::answer::{self, Api};
use beckon::web::{listen, routes, serve};
use reqwest::{Client, Response, StatusCode};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

async fn start() -> String {
    let kpis = Box::new(|| r#"{"as_of":"2026-01-01T00:00:00.000Z"}"#.to_owned());
    let api = Api { token: Secret::new(TOKEN.as_bytes()).unwrap(), kpis };
    let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, routes(answer::routes(api)), std::future::pending()));
    format!("http://{address}/v1/kpis")
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
    let url = start().await;
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
    let url = start().await;
    let longer = format!("Bearer {TOKEN}0");
    for wrong in [None, Some(""), Some("Bearer "), Some("Bearer 0123456789abcdef"), Some(longer.as_str()), Some(TOKEN)]
    {
        let answer = ask(&url, wrong).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{wrong:?}");
        assert_eq!(answer.headers()["www-authenticate"], "Bearer");
        assert_eq!(answer.text().await.unwrap(), "");
    }
}
