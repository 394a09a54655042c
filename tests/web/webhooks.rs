//! What ESPs tell by webhook: which records it becomes, each ESP's in its own words and with its own signature, and what is tried against
//! it by who means it no good. Keys and certificates are of these tests alone, but for what is said to be Amazon's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use beckon::decision::DecisionId;
use beckon::secret::Secret;
use beckon::signing::{MacKey, P256Key};
use beckon::web::publish::{Acknowledged, NotAcknowledged, Publish};
use beckon::web::webhooks::{
    self, Deliveries, Fetch, Mailgun, Postmark, Provider, Receiver, Replays, Resend, SendGrid, Ses, Soon,
};
use beckon::web::{Queue, listen, routes, serve};
use reqwest::header::{CONTENT_LENGTH, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

/// 2026-12-01T10:00:00Z.
const NOW_S: u64 = 1_796_119_200;
/// The decision that is known, for `u1`.
const OURS: &str = "00000000000000000000000000000abc";
const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:mail";
const CERTIFICATE_URL: &str = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem";
const PERSON: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15";
const MAILGUN_KEY: &[u8] = b"key-of-mailgun-0123456789";
const SVIX_KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PASSWORD: &str = "a password of postmark";

/// A broker, and a ledger with one decision.
#[derive(Default)]
struct World {
    records: Mutex<Vec<Value>>,
    is_down: AtomicBool,
    taken: Mutex<Vec<String>>,
    is_in_flight: AtomicBool,
    now_s: Mutex<u64>,
    /// What is to be had over HTTPS, and what was asked for.
    pages: Mutex<HashMap<String, Vec<u8>>>,
    fetched: Mutex<Vec<String>>,
}

#[derive(Clone)]
struct Shared(Arc<World>);

impl Publish for Shared {
    fn publish(&self, key: &str, json: &[u8]) -> Acknowledged<'_> {
        let record: Value = serde_json::from_slice(json).unwrap();
        assert_eq!(record["event_id"], key);
        Box::pin(async move {
            if self.0.is_down.load(Ordering::Relaxed) {
                return Err(NotAcknowledged("down".into()));
            }
            self.0.records.lock().unwrap().push(record);
            Ok(())
        })
    }
}

impl Deliveries for Shared {
    fn customer(&self, decision: DecisionId) -> Result<Option<Arc<str>>, String> {
        Ok((decision.to_string() == OURS).then(|| "u1".into()))
    }

    fn taken<'a>(&'a self, decision: DecisionId, esp: &'static str) -> Soon<'a, Result<(), String>> {
        Box::pin(async move {
            if self.0.is_in_flight.load(Ordering::Relaxed) {
                return Err("under way".into());
            }
            self.0.taken.lock().unwrap().push(format!("{esp} {decision}"));
            Ok(())
        })
    }
}

impl Fetch for Shared {
    fn get<'a>(&'a self, url: &'a Url) -> Soon<'a, Result<Vec<u8>, String>> {
        self.0.fetched.lock().unwrap().push(url.to_string());
        let page = self.0.pages.lock().unwrap().get(url.as_str()).cloned();
        Box::pin(async move { page.ok_or_else(|| "status 404".to_owned()) })
    }
}

struct Site {
    base: String,
    client: Client,
    world: Arc<World>,
    sendgrid: EcdsaKeyPair,
    sns: RsaKeyPair,
}

/// A request as an ESP would make it.
#[derive(Clone)]
struct Hook {
    esp: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Site {
    async fn start() -> Site {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let sendgrid = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let info = BASE64_STANDARD.decode("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgA=").unwrap();
        let public = BASE64_STANDARD.encode([&info, sendgrid.public_key().as_ref()].concat());
        let secret = |bytes: &[u8]| Secret::new(bytes).unwrap();
        let world = Arc::new(World { now_s: Mutex::new(NOW_S), ..World::default() });
        let certificate = include_bytes!("sns/certificate.pem").to_vec();
        world.pages.lock().unwrap().insert(CERTIFICATE_URL.into(), certificate);
        let topics = vec![TOPIC.to_owned(), "arn:aws:sns:us-west-2:131990247566:dongie-standard-topic".into()];
        let providers: Vec<Box<dyn Provider>> = vec![
            Box::new(SendGrid::new(P256Key::of(&secret(public.as_bytes())).unwrap())),
            Box::new(Postmark::new("beckon", secret(PASSWORD.as_bytes()))),
            Box::new(Mailgun::new(MacKey::of(&secret(MAILGUN_KEY)))),
            Box::new(Ses::new(topics, Arc::new(Shared(world.clone())))),
            Box::new(Resend::new(MacKey::of_svix(&secret(SVIX_KEY.as_bytes())).unwrap())),
        ];
        let clock = world.clone();
        let receiver = Receiver {
            publish: Arc::new(Shared(world.clone())),
            deliveries: Arc::new(Shared(world.clone())),
            replays: Replays::default(),
            queue: Queue::new(8 << 20),
            now_ms: Box::new(move || *clock.now_s.lock().unwrap() * 1000),
        };
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let routes = routes(webhooks::routes(receiver, providers));
        tokio::spawn(serve(listener, routes, std::future::pending()));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let sns = RsaKeyPair::from_pkcs8(include_bytes!("sns/key.pk8")).unwrap();
        Site { base, client: Client::new(), world, sendgrid, sns }
    }

    /// What is told now, signed as this ESP does.
    fn hook(&self, esp: &'static str, what: &Value) -> Hook {
        self.hook_at(esp, what, NOW_S)
    }

    fn hook_at(&self, esp: &'static str, what: &Value, at_s: u64) -> Hook {
        let body = match esp {
            "sendgrid" if what.is_array() => what.to_string().into_bytes(),
            "sendgrid" => json!([what]).to_string().into_bytes(),
            "mailgun" => mailgun(what, at_s).to_string().into_bytes(),
            "ses" => self.sns(what, at_s).to_string().into_bytes(),
            _ => what.to_string().into_bytes(),
        };
        let headers = match esp {
            "sendgrid" => {
                let signed = [at_s.to_string().as_bytes(), &body].concat();
                let signature = self.sendgrid.sign(&SystemRandom::new(), &signed).unwrap();
                vec![
                    ("x-twilio-email-event-webhook-timestamp", at_s.to_string()),
                    ("x-twilio-email-event-webhook-signature", BASE64_STANDARD.encode(signature)),
                ]
            }
            "postmark" => {
                vec![("authorization", format!("Basic {}", BASE64_STANDARD.encode(format!("beckon:{PASSWORD}"))))]
            }
            "resend" => {
                let id = format!("msg_{:x}", what.to_string().len());
                let signed = [format!("{id}.{at_s}.").as_bytes(), &body].concat();
                let key = BASE64_STANDARD.decode(&SVIX_KEY[6..]).unwrap();
                let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed);
                let signature = format!("v1,{}", BASE64_STANDARD.encode(tag));
                vec![("svix-id", id), ("svix-timestamp", at_s.to_string()), ("svix-signature", signature)]
            }
            _ => Vec::new(),
        };
        Hook { esp, headers, body }
    }

    /// A notification of SNS's, signed in version 2.
    fn sns(&self, what: &Value, at_s: u64) -> Value {
        let (message, time) = (what.to_string(), rfc3339(at_s));
        let id = format!("id-{}", message.len());
        let signed =
            format!("Message\n{message}\nMessageId\n{id}\nTimestamp\n{time}\nTopicArn\n{TOPIC}\nType\nNotification\n");
        let mut tag = vec![0; self.sns.public().modulus_len()];
        self.sns.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut tag).unwrap();
        json!({ "Type": "Notification", "MessageId": id, "TopicArn": TOPIC, "Message": message, "Timestamp": time,
            "SignatureVersion": "2", "Signature": BASE64_STANDARD.encode(tag), "SigningCertURL": CERTIFICATE_URL })
    }

    async fn send(&self, hook: &Hook) -> StatusCode {
        self.send_to(hook.esp, hook).await
    }

    async fn send_to(&self, path: &str, hook: &Hook) -> StatusCode {
        let request = self.client.post(format!("{}/webhooks/{path}", self.base)).body(hook.body.clone());
        let request = hook.headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        request.send().await.unwrap().status()
    }

    fn told(&self) -> Vec<Value> {
        std::mem::take(&mut *self.world.records.lock().unwrap())
    }
}

fn rfc3339(at_s: u64) -> String {
    jiff::Timestamp::from_second(at_s as i64).unwrap().to_string()
}

fn mailgun(what: &Value, at_s: u64) -> Value {
    let token = format!("{:050x}", what.to_string().len());
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, MAILGUN_KEY), format!("{at_s}{token}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "signature": { "timestamp": at_s.to_string(), "token": token, "signature": hex }, "event-data": what })
}

/// What each ESP says of a mail, with the kind it comes to (none: a proof that it was taken), and whether a machine did it.
fn sayings() -> Vec<(&'static str, Value, Option<&'static str>, bool)> {
    let of = |esp: &str, mut what: Value, more: Value| -> Value {
        let time = rfc3339(NOW_S - 10);
        let common = match esp {
            "sendgrid" => {
                json!({ "email": "a@example.com", "timestamp": NOW_S - 10, "sg_event_id": "e1", "decision_id": OURS })
            }
            "mailgun" => {
                json!({ "id": "e1", "timestamp": (NOW_S - 10) as f64 + 0.25, "user-variables": { "decision_id": OURS } })
            }
            "postmark" => {
                json!({ "MessageID": "m1", "Recipient": "a@example.com", "Metadata": { "decision_id": OURS } })
            }
            "resend" => json!({ "created_at": time }),
            _ => json!({ "mail": { "messageId": "m1", "tags": { "decision_id": [OURS], "ses:from-domain": ["x"] } } }),
        };
        for part in [common, more] {
            what.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        }
        what
    };
    let time = rfc3339(NOW_S - 10);
    let sendgrid = |event: &str, more: Value| of("sendgrid", json!({ "event": event }), more);
    let mailgun = |event: &str, more: Value| of("mailgun", json!({ "event": event }), more);
    let postmark = |kind: &str, at: &str, more: Value| of("postmark", json!({ "RecordType": kind, at: time }), more);
    let ses = |kind: &str, part: &str, mut inside: Value| {
        inside["timestamp"] = time.clone().into();
        of("ses", json!({ "eventType": kind, part: inside }), json!({}))
    };
    let resend = |kind: &str, mut data: Value| {
        data["tags"] = json!([{ "name": "decision_id", "value": OURS }]);
        of("resend", json!({ "type": kind, "data": data }), json!({}))
    };
    vec![
        ("sendgrid", sendgrid("processed", json!({})), None, false),
        ("sendgrid", sendgrid("deferred", json!({})), None, false),
        ("sendgrid", sendgrid("delivered", json!({})), Some("delivered"), false),
        ("sendgrid", sendgrid("open", json!({ "useragent": PERSON })), Some("opened"), false),
        ("sendgrid", sendgrid("open", json!({ "useragent": PERSON, "sg_machine_open": true })), Some("opened"), true),
        (
            "sendgrid",
            sendgrid("click", json!({ "useragent": PERSON, "url": "https://shop.example/" })),
            Some("clicked"),
            false,
        ),
        ("sendgrid", sendgrid("bounce", json!({ "type": "bounce" })), Some("bounced"), false),
        ("sendgrid", sendgrid("bounce", json!({ "type": "blocked" })), None, false),
        ("sendgrid", sendgrid("spamreport", json!({})), Some("complained"), false),
        ("sendgrid", sendgrid("unsubscribe", json!({})), Some("unsubscribed"), false),
        ("sendgrid", sendgrid("dropped", json!({ "reason": "Unsubscribed Address" })), Some("unsubscribed"), false),
        ("mailgun", mailgun("accepted", json!({})), None, false),
        ("mailgun", mailgun("delivered", json!({})), Some("delivered"), false),
        (
            "mailgun",
            mailgun("opened", json!({ "client-info": { "user-agent": PERSON, "bot": "" } })),
            Some("opened"),
            false,
        ),
        (
            "mailgun",
            mailgun("opened", json!({ "client-info": { "user-agent": "Mozilla/5.0", "bot": "apple" } })),
            Some("opened"),
            true,
        ),
        (
            "mailgun",
            mailgun("opened", json!({ "client-info": { "user-agent": "x", "bot": "gmail" } })),
            Some("opened"),
            false,
        ),
        ("mailgun", mailgun("failed", json!({ "severity": "permanent", "reason": "bounce" })), Some("bounced"), false),
        ("mailgun", mailgun("failed", json!({ "severity": "temporary", "reason": "generic" })), None, false),
        (
            "mailgun",
            mailgun("failed", json!({ "severity": "permanent", "reason": "suppress-unsubscribe" })),
            Some("unsubscribed"),
            false,
        ),
        ("mailgun", mailgun("complained", json!({})), Some("complained"), false),
        ("mailgun", mailgun("unsubscribed", json!({})), Some("unsubscribed"), false),
        ("postmark", postmark("Delivery", "DeliveredAt", json!({})), Some("delivered"), false),
        ("postmark", postmark("Open", "ReceivedAt", json!({ "UserAgent": "Mozilla/5.0" })), Some("opened"), true),
        (
            "postmark",
            postmark("Click", "ReceivedAt", json!({ "UserAgent": PERSON, "OriginalLink": "https://shop.example/" })),
            Some("clicked"),
            false,
        ),
        ("postmark", postmark("Bounce", "BouncedAt", json!({ "ID": 7, "Type": "HardBounce" })), Some("bounced"), false),
        ("postmark", postmark("Bounce", "BouncedAt", json!({ "ID": 8, "Type": "Transient" })), None, false),
        (
            "postmark",
            postmark("SpamComplaint", "BouncedAt", json!({ "ID": 9, "Type": "SpamComplaint" })),
            Some("complained"),
            false,
        ),
        (
            "postmark",
            postmark(
                "SubscriptionChange",
                "ChangedAt",
                json!({ "SuppressSending": true, "SuppressionReason": "ManualSuppression" }),
            ),
            Some("unsubscribed"),
            false,
        ),
        (
            "postmark",
            postmark("SubscriptionChange", "ChangedAt", json!({ "SuppressSending": false, "SuppressionReason": null })),
            None,
            false,
        ),
        ("ses", of("ses", json!({ "eventType": "Send", "send": {} }), json!({})), None, false),
        ("ses", ses("Delivery", "delivery", json!({ "recipients": ["a@example.com"] })), Some("delivered"), false),
        (
            "ses",
            ses("Bounce", "bounce", json!({ "bounceType": "Permanent", "bounceSubType": "General" })),
            Some("bounced"),
            false,
        ),
        (
            "ses",
            ses("Bounce", "bounce", json!({ "bounceType": "Transient", "bounceSubType": "MailboxFull" })),
            None,
            false,
        ),
        ("ses", ses("Complaint", "complaint", json!({ "feedbackId": "f" })), Some("complained"), false),
        ("ses", ses("Open", "open", json!({ "userAgent": PERSON })), Some("opened"), false),
        (
            "ses",
            ses("Click", "click", json!({ "userAgent": "python-requests/2", "link": "https://shop.example/" })),
            Some("clicked"),
            true,
        ),
        (
            "ses",
            ses("Subscription", "subscription", json!({ "newTopicPreferences": { "unsubscribeAll": true } })),
            Some("unsubscribed"),
            false,
        ),
        ("resend", resend("email.sent", json!({})), None, false),
        ("resend", resend("email.delivered", json!({})), Some("delivered"), false),
        (
            "resend",
            resend("email.bounced", json!({ "bounce": { "type": "Permanent", "subType": "General" } })),
            Some("bounced"),
            false,
        ),
        ("resend", resend("email.bounced", json!({ "bounce": { "type": "Transient" } })), None, false),
        ("resend", resend("email.complained", json!({})), Some("complained"), false),
        ("resend", resend("email.opened", json!({})), Some("opened"), false),
        (
            "resend",
            resend("email.clicked", json!({ "click": { "link": "https://shop.example/", "userAgent": PERSON } })),
            Some("clicked"),
            false,
        ),
    ]
}

/// What was said that becomes a record, one of each ESP.
fn one_of_each() -> Vec<(&'static str, Value)> {
    let of = |esp| sayings().into_iter().find(|saying| saying.0 == esp && saying.2.is_some()).unwrap().1;
    ["sendgrid", "postmark", "mailgun", "ses", "resend"].map(|esp| (esp, of(esp))).to_vec()
}

#[tokio::test]
async fn what_an_esp_says_is_told_in_our_words_and_proves_that_it_took_the_mail() {
    let site = Site::start().await;
    for (esp, what, kind, machine) in sayings() {
        *site.world.now_s.lock().unwrap() += 1;
        assert_eq!(site.send(&site.hook_at(esp, &what, NOW_S + 1)).await, StatusCode::OK, "{esp} {what}");
        let told = site.told();
        let taken = std::mem::take(&mut *site.world.taken.lock().unwrap());
        let Some(kind) = kind else {
            assert_eq!((told, taken), (vec![], vec![format!("{esp} {OURS}")]), "{esp} {what}");
            continue;
        };
        let [record] = &told[..] else { panic!("{esp} {what}: {told:?}") };
        let ms = if esp == "mailgun" { (NOW_S - 10) * 1000 + 250 } else { (NOW_S - 10) * 1000 };
        let mut expected = json!({ "event_id": record["event_id"], "type": kind, "decision_id": OURS, "user_id": "u1",
            "occurred_at": ms, "machine": machine });
        if kind == "clicked" {
            expected["url"] = "https://shop.example/".into();
        }
        assert_eq!((record, taken), (&expected, vec![format!("{esp} {OURS}")]), "{esp} {what}");
        assert_eq!(record["event_id"].as_str().unwrap().len(), 32);
    }
}

#[tokio::test]
async fn what_is_not_signed_or_not_so_is_not_even_read() {
    let site = Site::start().await;
    for (esp, what) in one_of_each() {
        let hook = site.hook(esp, &what);
        // Without a head, with each of it missing or twice, and with what another body was signed with.
        let mut wrong = vec![];
        for index in 0..hook.headers.len() {
            let (mut without, mut twice, mut touched) = (hook.clone(), hook.clone(), hook.clone());
            without.headers.remove(index);
            twice.headers.push(hook.headers[index].clone());
            let value = &mut touched.headers[index].1;
            value.insert(value.len() - 3, '7');
            wrong.extend([without, twice, touched]);
        }
        let body = String::from_utf8(hook.body.clone()).unwrap();
        let other = |from: &str, to: &str| Hook { body: body.replacen(from, to, 1).into_bytes(), ..hook.clone() };
        match esp {
            // It signs nothing: who has the password is believed.
            "postmark" => {
                let basic = |user: &str| vec![("authorization", format!("Basic {}", BASE64_STANDARD.encode(user)))];
                for user in [
                    "beckon:",
                    "beckon:a password of postmar",
                    ":a password of postmark",
                    "beckon",
                    "x:a password of postmark",
                ] {
                    wrong.push(Hook { headers: basic(user), ..hook.clone() });
                }
            }
            // It signs its token alone.
            "mailgun" => wrong.extend([
                other("\"token\":\"0", "\"token\":\"1"),
                other(&NOW_S.to_string(), &(NOW_S + 1).to_string()),
                other("\"signature\":\"", "\"signature\":\"0"),
                other("\"signature\":{\"timestamp\"", "\"unsigned\":{\"timestamp\""),
            ]),
            "ses" => wrong.extend([
                other("delivery", "Delivery"),
                other("\"SignatureVersion\":\"2\"", "\"SignatureVersion\":\"1\""),
                other("\"SignatureVersion\":\"2\"", "\"SignatureVersion\":\"3\""),
                other("\"Type\":\"Notification\"", "\"Type\":\"SubscriptionConfirmation\""),
                other("\"MessageId\":\"", "\"MessageId\":\"x"),
                other("\"Signature\":\"", "\"Signature\":\"AAAA"),
            ]),
            _ => wrong.extend([other("a", "b"), Hook { body: [&hook.body[..], b" "].concat(), ..hook.clone() }]),
        }
        for wrong in wrong {
            assert_eq!(
                site.send(&wrong).await,
                StatusCode::UNAUTHORIZED,
                "{esp}: {:?} {}",
                wrong.headers,
                String::from_utf8_lossy(&wrong.body)
            );
        }
        // Nor is one ESP's another's.
        for (other, _) in one_of_each().iter().filter(|other| other.0 != esp) {
            assert_eq!(site.send_to(other, &hook).await, StatusCode::UNAUTHORIZED, "{esp} to {other}");
        }
        assert_eq!(site.told(), Vec::<Value>::new());
        assert_eq!(site.send(&hook).await, StatusCode::OK, "{esp}");
        assert_eq!(site.told().len(), 1);
    }
    assert!(site.world.taken.lock().unwrap().len() == 5);
}

#[tokio::test]
async fn what_is_said_again_is_refused_and_what_was_not_written_may_be() {
    let site = Site::start().await;
    for (esp, what) in one_of_each() {
        let hook = site.hook(esp, &what);
        site.world.is_down.store(true, Ordering::Relaxed);
        assert_eq!(site.send(&hook).await, StatusCode::SERVICE_UNAVAILABLE, "{esp}");
        site.world.is_down.store(false, Ordering::Relaxed);
        site.world.is_in_flight.store(true, Ordering::Relaxed);
        let answer = site.client.post(format!("{}/webhooks/{esp}", site.base)).body(hook.body.clone());
        let answer = hook.headers.iter().fold(answer, |request, (name, value)| request.header(*name, value));
        let answer = answer.send().await.unwrap();
        assert_eq!(
            (answer.status(), &answer.headers()[RETRY_AFTER]),
            (StatusCode::SERVICE_UNAVAILABLE, &"5".parse().unwrap())
        );
        site.world.is_in_flight.store(false, Ordering::Relaxed);
        assert_eq!(site.send(&hook).await, StatusCode::OK, "{esp}");
        // It was written twice, under one name: the graph counts it once.
        let told = site.told();
        assert_eq!((told.len(), &told[0]), (2, &told[1]), "{esp}");
        assert_eq!(site.send(&hook).await, StatusCode::CONFLICT, "{esp}");
        // The same signature written otherwise is the same.
        if esp == "sendgrid" {
            let again = site.hook(esp, &what);
            assert_ne!(again.headers[1], hook.headers[1]);
            assert_eq!(site.send(&again).await, StatusCode::CONFLICT);
        }
        if esp == "mailgun" {
            let body = String::from_utf8(hook.body.clone()).unwrap().replace("delivered", "complained");
            assert_eq!(site.send(&Hook { body: body.into_bytes(), ..hook.clone() }).await, StatusCode::CONFLICT);
        }
        assert_eq!(site.told(), Vec::<Value>::new());
    }
    // Said anew, it has the name that it had.
    let (esp, what) = one_of_each().pop().unwrap();
    assert_eq!(site.send(&site.hook_at(esp, &what, NOW_S + 1)).await, StatusCode::OK);
    let first = site.told().pop().unwrap();
    assert_eq!(site.send(&site.hook_at(esp, &what, NOW_S + 2)).await, StatusCode::OK);
    assert_eq!(site.told(), [first]);
}

#[tokio::test]
async fn of_two_that_are_the_same_at_a_time_one_is_taken() {
    let site = Site::start().await;
    for (esp, what) in one_of_each() {
        let hook = site.hook(esp, &what);
        let all = futures_util::future::join_all((0..20).map(|_| site.send(&hook))).await;
        assert_eq!(all.iter().filter(|status| **status == StatusCode::OK).count(), 1, "{esp}: {all:?}");
        assert!(all.iter().all(|status| [StatusCode::OK, StatusCode::CONFLICT].contains(status)), "{esp}: {all:?}");
        assert_eq!(site.told().len(), 1);
    }
}

#[tokio::test]
async fn what_was_signed_long_ago_or_in_the_future_is_refused() {
    let site = Site::start().await;
    for (esp, what) in one_of_each() {
        let hook = site.hook(esp, &what);
        for later_s in [26 * 3_600, 365 * 86_400] {
            *site.world.now_s.lock().unwrap() = NOW_S + later_s;
            assert_eq!(site.send(&hook).await, StatusCode::FORBIDDEN, "{esp} after {later_s} s");
        }
        *site.world.now_s.lock().unwrap() = NOW_S - 400;
        assert_eq!(site.send(&hook).await, StatusCode::FORBIDDEN, "{esp} in the future");
        *site.world.now_s.lock().unwrap() = NOW_S + 200;
        assert_eq!(site.send(&hook).await, StatusCode::OK, "{esp}");
    }
}

#[tokio::test]
async fn mails_of_others_and_what_nobody_asks_for_are_thanked_and_not_told() {
    let site = Site::start().await;
    for (esp, what) in one_of_each() {
        let foreign = what.to_string().replace(OURS, "0000000000000000000000000000dead");
        let of_another = what.to_string().replace(OURS, "their own id");
        let unknown = what.to_string().replace("elivered", "evoured").replace("elivery", "evouring");
        for what in [foreign, of_another, unknown] {
            let hook = site.hook(esp, &serde_json::from_str(&what).unwrap());
            let status = site.send(&hook).await;
            assert!([StatusCode::OK, StatusCode::BAD_REQUEST].contains(&status), "{esp} {status} {what}");
        }
    }
    assert_eq!((site.told().len(), site.world.taken.lock().unwrap().len()), (0, 0));
    // One that cannot be read takes none of its batch with it.
    let sound = one_of_each().remove(0).1;
    let batch = json!([{ "event": 7 }, null, sound, "x", { "event": "open" }]);
    assert_eq!(site.send(&site.hook("sendgrid", &batch)).await, StatusCode::OK);
    assert_eq!(site.told().len(), 1);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_not_read() {
    let site = Site::start().await;
    for esp in ["sendgrid", "postmark", "mailgun", "ses", "resend"] {
        let url = format!("{}/webhooks/{esp}", site.base);
        let large = site.client.post(&url).body(vec![b' '; (2 << 20) + 1]).send().await.unwrap();
        assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE, "{esp}");
        assert_eq!(
            site.client.post(&url).header(CONTENT_LENGTH, "0").send().await.unwrap().status(),
            StatusCode::UNAUTHORIZED
        );
        assert_eq!(site.client.get(&url).send().await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
    }
    assert_eq!(
        site.client.post(format!("{}/webhooks/other", site.base)).send().await.unwrap().status(),
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_certificate_of_anybody_else_is_never_fetched_nor_believed() {
    let site = Site::start().await;
    let what = one_of_each().remove(3).1;
    let hook = site.hook("ses", &what);
    let body = String::from_utf8(hook.body.clone()).unwrap();
    let with = |from: &str, to: &str| Hook { body: body.replacen(from, to, 1).into_bytes(), ..hook.clone() };
    for place in [
        "https://evil.example/SimpleNotificationService-0123abcd.pem",
        "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem",
        "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0123abcd.pem",
        "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-0123abcd.pem",
        "https://sns.eu-west-1.amazonaws.com@evil.example/SimpleNotificationService-0123abcd.pem",
        "https://evil.s3.amazonaws.com/SimpleNotificationService-0123abcd.pem",
        "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data/",
    ] {
        assert_eq!(site.send(&with(CERTIFICATE_URL, place)).await, StatusCode::UNAUTHORIZED, "{place}");
    }
    let elsewhere = with(TOPIC, "arn:aws:sns:eu-west-1:666666666666:mail");
    assert_eq!(site.send(&elsewhere).await, StatusCode::FORBIDDEN);
    assert_eq!(*site.world.fetched.lock().unwrap(), Vec::<String>::new());
    // A certificate of the same key that is for another, none at all, and one that is no longer or not yet valid.
    let put = |pem: &[u8]| drop(site.world.pages.lock().unwrap().insert(CERTIFICATE_URL.into(), pem.to_vec()));
    for pem in
        [&include_bytes!("sns/other.pem")[..], b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
    {
        put(pem);
        assert_eq!(site.send(&hook).await, StatusCode::UNAUTHORIZED);
    }
    put(include_bytes!("sns/certificate.pem"));
    *site.world.now_s.lock().unwrap() = NOW_S - 300 * 86_400;
    assert_eq!(site.send(&site.hook_at("ses", &what, NOW_S - 300 * 86_400)).await, StatusCode::UNAUTHORIZED);
    *site.world.now_s.lock().unwrap() = NOW_S;
    // When it cannot be had, nothing is said about the message.
    site.world.pages.lock().unwrap().clear();
    assert_eq!(site.send(&hook).await, StatusCode::SERVICE_UNAVAILABLE);
    put(include_bytes!("sns/certificate.pem"));
    assert_eq!(site.send(&hook).await, StatusCode::OK);
    let fetches = site.world.fetched.lock().unwrap().len();
    assert_eq!(site.send(&site.hook_at("ses", &what, NOW_S - 1)).await, StatusCode::OK);
    assert_eq!(site.world.fetched.lock().unwrap().len(), fetches, "it is kept");
}

/// Messages that Amazon has signed, and its certificate, of the tests of its own library.
#[tokio::test]
async fn amazon_s_own_messages_are_verified_in_both_versions_and_a_subscription_is_confirmed() {
    let site = Site::start().await;
    let place = "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-7506a1e35b36ef5a444dd1a8e7cc3ed8.pem";
    site.world.pages.lock().unwrap().insert(place.into(), include_bytes!("sns/of_amazon.pem").to_vec());
    *site.world.now_s.lock().unwrap() = "2026-03-06T20:01:00Z".parse::<jiff::Timestamp>().unwrap().as_second() as u64;
    let hook = |body: &str| Hook { esp: "ses", headers: vec![], body: body.as_bytes().to_vec() };
    let [first, second] = [include_str!("sns/version_1.json"), include_str!("sns/version_2.json")];
    for body in [first, second] {
        let forged = body.replace("message", "Message");
        assert_eq!(site.send(&hook(&forged)).await, StatusCode::UNAUTHORIZED);
        assert_eq!(site.send(&hook(body)).await, StatusCode::OK);
        assert_eq!(site.send(&hook(body)).await, StatusCode::CONFLICT);
    }
    let subscription = include_str!("sns/subscription.json");
    let url = serde_json::from_str::<Value>(subscription).unwrap()["SubscribeURL"].as_str().unwrap().to_owned();
    let elsewhere = subscription.replace("https://sns.us-west-2.amazonaws.com/?", "https://evil.example/?");
    assert_eq!(site.send(&hook(&elsewhere)).await, StatusCode::UNAUTHORIZED);
    // Not confirmed yet, so SNS has to ask again.
    assert_eq!(site.send(&hook(subscription)).await, StatusCode::SERVICE_UNAVAILABLE);
    site.world.pages.lock().unwrap().insert(url.clone(), b"<ConfirmSubscriptionResponse/>".to_vec());
    assert_eq!(site.send(&hook(subscription)).await, StatusCode::OK);
    assert_eq!(site.send(&hook(subscription)).await, StatusCode::CONFLICT);
    assert_eq!(*site.world.fetched.lock().unwrap(), [place, &url, &url]);
    assert_eq!(site.told(), Vec::<Value>::new());
    // Months later its certificate is no longer valid, and so is nothing that it signed.
    let fresh = Site::start().await;
    fresh.world.pages.lock().unwrap().insert(place.into(), include_bytes!("sns/of_amazon.pem").to_vec());
    assert_eq!(fresh.send(&hook(second)).await, StatusCode::UNAUTHORIZED);
}
