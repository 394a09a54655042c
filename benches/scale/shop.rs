//! What the shop says of a step, as the shop of `datagen` would, and how much of it is *live payload*. In: steps. Out: records, each
//! as its bytes. Keeps nothing of its customers: names and carts follow from numbers. Cannot fail.

use beckon_datagen::wire::{
    Attributes, CURRENCY, CartRecord, CatalogRecord, Consent, InventoryRecord, LineRecord, Message, Money, OrderRecord,
    ProductProperties, ProfileRecord, Properties, Time,
};
use beckon_datagen::{Event, wire};

use super::steps::{Kind, Step};

/// Products.
pub const SKUS: u64 = 10_000;

/// A number, a time, a price, or an id.
const WORD: u64 = 8;

/// Where somebody lives, and what follows: first name, locale, time zone, city.
const HOMES: [[&str; 4]; 4] = [
    ["Anna", "de-DE", "Europe/Berlin", "Hamburg"],
    ["Oliver", "en-GB", "Europe/London", "Leeds"],
    ["Chloé", "fr-FR", "Europe/Paris", "Lyon"],
    ["Diego", "es-AR", "America/Argentina/Buenos_Aires", "Buenos Aires"],
];

/// The records of the catalogue, and of a stock that is never sold out: what is decided then follows from the customers alone.
pub fn opening(at_ms: u64) -> impl Iterator<Item = Event> {
    let product = move |sku: u64| with_product(sku, |product| catalog(product, at_ms));
    (0..SKUS).map(product).chain((0..SKUS).map(move |sku| stock(sku, 1, at_ms)))
}

/// What is said of a step.
pub fn say(step: Step) -> Event {
    match step.kind {
        Kind::Profile => with_profile(step.customer, step.number, step.at_ms, |profile| profile.event()),
        Kind::View => view(step),
        Kind::Cart => cart(step),
        Kind::Inventory => stock(mixed(step.number) % SKUS, step.number, step.at_ms),
        Kind::Order => order(step),
        Kind::Identify => identify(step),
    }
}

/// The live payload of a customer with a profile, and a cart that was told by step `number`: each text once, and eight bytes for each
/// number, time, price and id that a rule reads or that says which write is the last. What holds them together (tables, pointers, lengths,
/// what is kept twice) is not of it.
pub fn payload_bytes(customer: u64, number: u64) -> u64 {
    // Version, time and place of the last write.
    let written = 3 * WORD;
    let profile = with_profile(customer, 1, 0, |profile| {
        let attributes = serde_json::to_string(&profile.attributes).map_or(0, |text| text.len());
        let email = profile.email.map_or(0, str::len);
        profile.user_id.len()
            + email
            + profile.first_name.len()
            + profile.locale.len()
            + profile.timezone.len()
            + attributes
    });
    // Consent; the customer's id and last activity.
    let customers = profile as u64 + written + WORD + 2 * WORD;
    // The cart's id, whose it is, its currency; SKU, quantity and price of each line.
    let carts = cart_id(customer).len() as u64 + written + 3 * WORD + 3 * WORD * lines_of(number);
    customers + carts
}

/// What is remembered of a cart's size: two or three lines.
fn lines_of(number: u64) -> u64 {
    2 + number % 2
}

fn user_id(customer: u64) -> String {
    format!("u{customer}")
}

fn cart_id(customer: u64) -> String {
    format!("cart-{customer}")
}

fn with_profile<T>(customer: u64, version: u64, at_ms: u64, with: impl FnOnce(&ProfileRecord) -> T) -> T {
    let [first_name, locale, timezone, city] = HOMES[customer as usize % HOMES.len()];
    let user_id = user_id(customer);
    let email = format!("customer.{user_id}@example.com");
    with(&ProfileRecord {
        user_id: &user_id,
        email: Some(&email),
        first_name,
        locale,
        timezone,
        consent: Consent { email: true },
        attributes: Attributes { tier: "silver", city },
        deleted: false,
        version,
        updated_at: time(at_ms),
    })
}

fn view(step: Step) -> Event {
    with_product(mixed(step.number) % SKUS, |product| {
        let said = Message { event: Some("Product Viewed"), properties: Some(Properties::Product(product)), ..SILENT };
        message(step, said)
    })
}

fn identify(step: Step) -> Event {
    message(step, Message { kind: "identify", anonymous_id: Some("visitor"), ..SILENT })
}

/// A message that says nothing yet.
const SILENT: Message = Message {
    kind: "track",
    event: None,
    message_id: "",
    user_id: None,
    anonymous_id: None,
    previous_id: None,
    timestamp: Time(0),
    properties: None,
    traits: None,
};

/// The message of a customer, with a name of its own.
fn message(Step { customer, at_ms, number, .. }: Step, said: Message) -> Event {
    let (user_id, message_id) = (user_id(customer), format!("{:016x}{number:016x}", mixed(number)));
    Message { message_id: &message_id, user_id: Some(&user_id), timestamp: time(at_ms), ..said }.event()
}

fn cart(Step { customer, at_ms, number, .. }: Step) -> Event {
    let (user_id, cart_id, skus) = (user_id(customer), cart_id(customer), skus(number));
    let record = CartRecord {
        cart_id: &cart_id,
        user_id: Some(&user_id),
        anonymous_id: None,
        version: number,
        updated_at: time(at_ms),
        currency: CURRENCY,
        lines: &lines(&skus),
    };
    record.event()
}

fn order(Step { customer, at_ms, number, .. }: Step) -> Event {
    let (user_id, cart_id, skus) = (user_id(customer), cart_id(customer), skus(number));
    let record = OrderRecord {
        order_id: &format!("order-{number}"),
        user_id: Some(&user_id),
        anonymous_id: None,
        cart_id: Some(&cart_id),
        status: "placed",
        placed_at: time(at_ms),
        version: 1,
        updated_at: time(at_ms),
        total: Money(1_990 * lines_of(number) as i64),
        currency: CURRENCY,
        lines: &lines(&skus),
    };
    record.event()
}

fn stock(sku: u64, version: u64, at_ms: u64) -> Event {
    let on_hand = 1 + (mixed(version) >> 32) as i64 % 50;
    InventoryRecord { sku: &sku_name(sku), location: None, on_hand, version, updated_at: at_ms as i64 }.event()
}

fn catalog(product: ProductProperties, at_ms: u64) -> Event {
    let ProductProperties { sku, name, category, brand, url, image_url, .. } = product;
    let (price, currency, updated_at) = (Money(1_990), CURRENCY, time(at_ms));
    CatalogRecord { sku, name, category, brand, price, currency, image_url, url, version: 1, updated_at }.event()
}

fn with_product<T>(sku: u64, with: impl FnOnce(ProductProperties) -> T) -> T {
    let sku = sku_name(sku);
    with(ProductProperties {
        product_id: &sku,
        sku: &sku,
        name: &format!("Brightwater Studio Canvas Sneaker {sku}"),
        category: "Shoes",
        brand: "Brightwater",
        price: Money(1_990).number(),
        currency: CURRENCY,
        quantity: None,
        url: &format!("https://shop.example.com/p/brightwater-studio-canvas-sneaker-{sku}"),
        image_url: &format!("https://img.example.com/{sku}.jpg"),
    })
}

/// The SKUs of the cart or order of this number, each another one.
fn skus(number: u64) -> Vec<String> {
    (0..lines_of(number)).map(|line| sku_name((mixed(number) + line) % SKUS)).collect()
}

fn lines(skus: &[String]) -> Vec<LineRecord<'_>> {
    skus.iter().map(|sku| LineRecord { sku, quantity: 1, price: Money(1_990) }).collect()
}

fn sku_name(sku: u64) -> String {
    format!("SHO-{sku:05}")
}

fn time(at_ms: u64) -> wire::Time {
    Time(at_ms as i64)
}

/// A number that looks drawn (the finaliser of SplitMix64).
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
