//! SES as Amazon's own SDK for Python knows it: moto answers in SES's words, and has botocore verify each signature.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use beckon::sink::ses::{Account, Ses};
use beckon::sink::{Esp, SendError, client};
use serde_json::{Map, Value, json};

use crate::fetched::{fetch_once, version_of};
use crate::skip::{Skip, or_skip};
use crate::world::{key, message, send};

const MOTO: &str = "moto[server]==5.2.5";
/// Long enough for a busy machine: no test here waits for it.
const TIMEOUT_MS: u64 = 30_000;

/// A running account, which ends with this value.
struct Moto {
    python: Child,
    asks: ChildStdin,
    says: BufReader<ChildStdout>,
    url: String,
    access_key_id: String,
    secret: String,
}

impl Moto {
    /// Starts one. Fails with a `Skip` where Python is missing, or moto can't be fetched.
    fn start() -> Result<Moto, Skip> {
        version_of("python3", "install Python 3 with pip")?;
        let folder = fetch_once("moto", MOTO, |folder| {
            let arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"];
            Command::new("python3").args(arguments).arg(folder).arg(MOTO).stdin(Stdio::null()).output()
        })?;
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sender/moto/account.py");
        let mut command = Command::new("python3");
        command.arg(program).env("PYTHONPATH", folder).env("AWS_EC2_METADATA_DISABLED", "true");
        let mut python = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (asks, mut says) = (python.stdin.take().unwrap(), BufReader::new(python.stdout.take().unwrap()));
        let begun = line_of(&mut says);
        let text = |name: &str| begun[name].as_str().unwrap().to_owned();
        let (url, access_key_id, secret) = (text("url"), text("access_key_id"), text("secret"));
        Ok(Moto { python, asks, says, url, access_key_id, secret })
    }

    /// The mails that it took.
    fn took(&mut self) -> Value {
        self.asks.write_all(b"\n").unwrap();
        line_of(&mut self.says)
    }

    /// Who sends with this key.
    fn ses(&self, access_key_id: &str, secret: &str) -> Ses {
        let account = Account {
            region: "eu-west-1".into(),
            access_key_id: access_key_id.into(),
            secret: key(secret),
            session_token: None,
            configuration_set: None,
        };
        Ses::new(client(TIMEOUT_MS).unwrap(), &self.url, account).unwrap()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.python.kill();
        let _ = self.python.wait();
    }
}

fn line_of(says: &mut BufReader<ChildStdout>) -> Value {
    let mut line = String::new();
    says.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("moto says {line:?}: {error}"))
}

#[tokio::test]
async fn ses_takes_what_is_signed_with_the_key_and_refuses_the_account_else() {
    let Some(mut moto) = or_skip("ses_takes_what_is_signed", Moto::start()) else { return };
    let cart = send("Grüße & mehr");
    let mail = message(&cart, &Map::new());

    let accepted = moto.ses(&moto.access_key_id, &moto.secret).send(&mail, &cart.decision).await.unwrap();
    let expected = json!([{
        "id": accepted.esp_id.expect("SES names what it takes"),
        "source": mail.from.quoted(),
        "subject": mail.subject,
        "body": mail.html,
        "destinations": {"ToAddresses": [mail.to.quoted()]},
    }]);
    assert_eq!(moto.took(), expected);

    let mut stranger = mail.clone();
    stranger.from = "nobody@example.net".parse().unwrap();
    let cases = [
        ("a wrong secret", moto.ses(&moto.access_key_id, "wrong"), &mail, "SignatureDoesNotMatch"),
        ("a key that is none", moto.ses("AKIANOBODY", &moto.secret), &mail, "InvalidClientTokenId"),
        ("a sender of nobody's", moto.ses(&moto.access_key_id, &moto.secret), &stranger, "not verified"),
    ];
    for (case, ses, mail, expected) in cases {
        let said = ses.send(mail, &cart.decision).await;
        let Err(SendError::Denied { excerpt, .. }) = said else { panic!("{case}: {said:?}") };
        assert!(excerpt.contains(expected), "{case}: {excerpt}");
    }
    assert_eq!(moto.took().as_array().map(Vec::len), Some(1));
}
