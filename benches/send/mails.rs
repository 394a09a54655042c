//! Mails to be sent: customers with carts of three lines, of the example's campaign. In: a number. Out: the same mail each time. Fails
//! when the example configuration does.

use std::path::Path;
use std::sync::Arc;

use beckon::config::{Config, Purpose};
use beckon::decision::{self, Decision, DecisionId, Errand, Outcome, Payload, PayloadLine};
use beckon::state::State;
use beckon_dataflows::model::{Change, Contact, Episode, Id, Namespace, Opening, Product, Standing, Words};

/// When all of it is decided and sent, epoch ms.
pub const NOW_MS: u64 = 1_767_261_600_000;

const SKUS: u64 = 500;

/// The example's templates, one campaign, and an ESP at `base_url`.
pub fn config(folder: &Path, base_url: &str, rate: u32, in_flight: u32) -> anyhow::Result<Config> {
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("campaigns/templates");
    let text = format!(
        "state = '{}'\ntemplates = '{}'\n[kafka]\nbrokers = 'localhost:1'\n\
         [[campaign]]\nname = 'cart-abandonment'\ntrigger = 'cart_abandonment'\nafter = '30m'\ntemplate = 'cart_abandonment'\n\
         [esp]\nkind = 'http'\nbase_url = '{base_url}'\nhonours_idempotency_key = true\nfrom = 'Shop <shop@example.com>'\n\
         requests_per_second = {rate}\nmax_in_flight = {in_flight}\n",
        folder.join("state").display(),
        templates.display(),
    );
    Ok(Config::parse(&folder.join("beckon.toml"), &text, Purpose::Run)?)
}

fn customer(number: u64) -> Id {
    Id::of(Namespace::User, &format!("u{number}")).0
}

fn episode(number: u64) -> Episode {
    let subject = Id::of(Namespace::Cart, &format!("cart-{number}")).0;
    Episode { campaign: 0, customer: customer(number), subject, anchor: NOW_MS - 1_800_000 }
}

fn line(number: u64) -> PayloadLine {
    PayloadLine {
        sku: format!("sku-{}", number % SKUS).into(),
        quantity: Some(1),
        price: "19.90".parse().ok(),
        name: None,
        image: None,
        url: None,
        on_hand: Some(3),
    }
}

fn decision(number: u64) -> Decision {
    let (customer, subject) = (format!("u{number}"), format!("cart-{number}"));
    let lines = (0..3).map(|n| line(number * 3 + n)).collect();
    Decision {
        decision_id: DecisionId::of("cart-abandonment", &customer, &subject, NOW_MS - 1_800_000),
        campaign: "cart-abandonment".into(),
        customer_id: customer.into(),
        trigger: "cart_abandonment".into(),
        subject: subject.into(),
        anchor: NOW_MS - 1_800_000,
        as_of: NOW_MS,
        outcome: Outcome::Send,
        reason: None,
        variant: None,
        payload: Payload { lines, ..Payload::default() },
    }
}

/// The send of this number.
pub fn send(number: u64) -> decision::Send {
    decision::Send {
        decision: Arc::new(decision(number)),
        episode: episode(number),
        currency: Some("EUR".into()),
        send_within_ms: None,
        priority: 0,
        template: "cart_abandonment".into(),
    }
}

/// The same as it is recorded.
pub fn entry(number: u64) -> (Decision, Option<Errand>) {
    let Episode { customer, subject, .. } = episode(number);
    (decision(number), Some(Errand { customer, subject, currency: Some("EUR".into()), priority: 0, esp: None }))
}

/// A state in which all of them hold.
pub fn state(mails: u64) -> State {
    let mut state = State::default();
    let mut apply = |change| drop(state.apply(NOW_MS, change, |_| String::new()));
    for number in 0..SKUS {
        let sku = Id::of(Namespace::Sku, &format!("sku-{number}")).0;
        let product = Product {
            name: Some(format!("Pinegrove Alpine Jacket {number}, burgundy")),
            price: "19.90".parse().ok(),
            currency: Some("EUR".into()),
            image_url: Some(format!("https://shop.example/images/{number}.jpg")),
            url: Some(format!("https://shop.example/products/{number}")),
            ..Product::default()
        };
        apply(Change::Product(sku, Arc::new(product)));
        apply(Change::Stock(sku, 7));
    }
    for number in 0..mails {
        let email = format!("u{number}@example.org");
        let words = Words { email: Some(&email), first_name: Some("Ada"), ..Words::default() };
        let contact = Contact::new(Standing { known: true, consent: true, ..Standing::default() }, &words);
        apply(Change::Contact(customer(number), contact));
        apply(Change::Entered(Opening { episode: episode(number), currency: Id::NONE, lines: Arc::new([]) }));
    }
    state
}
