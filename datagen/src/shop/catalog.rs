//! The catalogue: believable products with prices, drawn from a seed. In: a generator and a number of SKUs. Out:
//! products, picks by popularity, searches, and price changes. Cannot fail.

use rand::{Rng, RngExt};

use crate::wire::{CURRENCY, CatalogRecord, Money, ProductProperties, Time};

/// A kind of thing the shop sells.
struct Category {
    name: &'static str,
    sku_prefix: &'static str,
    nouns: &'static [&'static str],
    price_cents: (i64, i64),
    searches: &'static [&'static str],
}

const CATEGORIES: [Category; 10] = [
    Category {
        name: "Jackets",
        sku_prefix: "JKT",
        nouns: &["Rain Jacket", "Down Jacket", "Parka", "Softshell", "Field Jacket", "Fleece Jacket"],
        price_cents: (6_900, 34_900),
        searches: &["rain jacket", "warm parka", "down jacket men", "softshell women"],
    },
    Category {
        name: "Shoes",
        sku_prefix: "SHO",
        nouns: &["Trail Runner", "Hiking Boot", "Canvas Sneaker", "Sandal", "Chelsea Boot", "Clog"],
        price_cents: (3_900, 18_900),
        searches: &["trail running shoes", "hiking boots", "white sneaker", "sandals 42"],
    },
    Category {
        name: "Backpacks",
        sku_prefix: "BPK",
        nouns: &["Daypack", "Trekking Pack", "Commuter Backpack", "Roll-Top", "Duffel", "Hip Bag"],
        price_cents: (2_900, 24_900),
        searches: &["backpack 30l", "laptop backpack", "hip bag", "carry on duffel"],
    },
    Category {
        name: "Shirts",
        sku_prefix: "SHR",
        nouns: &["T-Shirt", "Oxford Shirt", "Linen Shirt", "Polo", "Flannel Shirt", "Base Layer"],
        price_cents: (1_490, 8_900),
        searches: &["linen shirt", "merino t-shirt", "flannel", "polo navy"],
    },
    Category {
        name: "Trousers",
        sku_prefix: "TRS",
        nouns: &["Chino", "Hiking Trousers", "Jeans", "Cargo Shorts", "Leggings", "Joggers"],
        price_cents: (2_990, 12_900),
        searches: &["hiking trousers", "slim jeans", "chino beige", "running leggings"],
    },
    Category {
        name: "Kitchen",
        sku_prefix: "KIT",
        nouns: &["Chef's Knife", "Cast-Iron Pan", "Moka Pot", "Teapot", "Cutting Board", "Salad Bowl"],
        price_cents: (1_290, 15_900),
        searches: &["moka pot", "cast iron pan", "knife set", "teapot glass"],
    },
    Category {
        name: "Lighting",
        sku_prefix: "LGT",
        nouns: &["Desk Lamp", "Floor Lamp", "Pendant", "Table Lamp", "Lantern", "Reading Light"],
        price_cents: (1_990, 27_900),
        searches: &["desk lamp led", "pendant light", "reading light clip"],
    },
    Category {
        name: "Camping",
        sku_prefix: "CMP",
        nouns: &["Tent", "Sleeping Bag", "Camp Stove", "Sleeping Mat", "Headlamp", "Folding Chair"],
        price_cents: (1_990, 44_900),
        searches: &["two person tent", "sleeping bag -5", "gas stove", "headlamp"],
    },
    Category {
        name: "Books",
        sku_prefix: "BOK",
        nouns: &["Cookbook", "Field Guide", "Travel Journal", "Atlas", "Notebook", "Wall Calendar"],
        price_cents: (790, 4_490),
        searches: &["vegetarian cookbook", "bird guide", "atlas", "notebook a5"],
    },
    Category {
        name: "Toys",
        sku_prefix: "TOY",
        nouns: &["Wooden Train", "Building Blocks", "Kite", "Puzzle", "Balance Bike", "Plush Fox"],
        price_cents: (990, 9_900),
        searches: &["wooden train set", "puzzle 1000", "balance bike", "kite"],
    },
];

const BRANDS: [&str; 12] = [
    "Nordlund",
    "Halden",
    "Brightwater",
    "Kestrel",
    "Maro",
    "Osmia",
    "Tidewell",
    "Fjellvik",
    "Alder & Ash",
    "Sorano",
    "Quill",
    "Pinegrove",
];

const STYLES: [&str; 14] = [
    "Classic",
    "Alpine",
    "Everyday",
    "Light",
    "Recycled",
    "Heritage",
    "Urban",
    "Nomad",
    "Original",
    "Compact",
    "Merino",
    "Studio",
    "Wander",
    "Essential",
];

const COLOURS: [&str; 12] =
    ["olive", "navy", "sand", "charcoal", "rust", "forest", "cream", "black", "sky", "burgundy", "ochre", "slate"];

/// A product and its price of now.
#[derive(Debug, Clone)]
pub struct Product {
    /// Such as `JKT-00042`.
    pub sku: Box<str>,
    name: String,
    category: &'static str,
    brand: &'static str,
    list_price: Money,
    /// What it costs now.
    pub price: Money,
    image_url: String,
    url: String,
    version: u64,
}

impl Product {
    fn draw(rng: &mut impl Rng, number: usize, first_version: u64) -> Product {
        let category = &CATEGORIES[number % CATEGORIES.len()];
        let sku = format!("{}-{number:05}", category.sku_prefix);
        let brand = pick(rng, &BRANDS);
        let (style, noun, colour) = (pick(rng, &STYLES), pick(rng, category.nouns), pick(rng, &COLOURS));
        let name = format!("{brand} {style} {noun}, {colour}");
        let price = draw_price(rng, category.price_cents);
        Product {
            image_url: format!("https://img.example.com/{sku}.jpg"),
            url: format!("https://shop.example.com/p/{}-{sku}", slug(&name)),
            sku: sku.into(),
            name,
            category: category.name,
            brand,
            list_price: price,
            price,
            version: first_version,
        }
    }

    /// The product as a `catalog` record of `time_ms`.
    pub fn record(&self, time_ms: i64) -> CatalogRecord<'_> {
        CatalogRecord {
            sku: &self.sku,
            name: &self.name,
            category: self.category,
            brand: self.brand,
            price: self.price,
            currency: CURRENCY,
            image_url: &self.image_url,
            url: &self.url,
            version: self.version,
            updated_at: Time(time_ms),
        }
    }

    /// The product as a Segment event names it.
    pub fn properties(&self, quantity: Option<u32>) -> ProductProperties<'_> {
        ProductProperties {
            product_id: &self.sku,
            sku: &self.sku,
            name: &self.name,
            category: self.category,
            brand: self.brand,
            price: self.price.number(),
            currency: CURRENCY,
            quantity,
            url: &self.url,
            image_url: &self.image_url,
        }
    }

    /// A product on sale goes back to its list price; any other gets 5 to 40 % off.
    pub fn reprice(&mut self, rng: &mut impl Rng) {
        self.price = if self.price < self.list_price {
            self.list_price
        } else {
            let percent_off = rng.random_range(5..=40);
            let reduced = self.list_price.0 * (100 - percent_off) / 100;
            Money((reduced - reduced % 10).max(10))
        };
        self.version += 1;
    }
}

/// All products. A lesser place is a more popular product.
#[derive(Debug)]
pub struct Catalogue {
    /// The products; their places are what the rest of the shop calls a SKU by.
    pub products: Vec<Product>,
}

impl Catalogue {
    /// `skus` products (at least 1), their versions counted from `first_version`.
    pub fn draw(rng: &mut impl Rng, skus: usize, first_version: u64) -> Catalogue {
        let products = (0..skus.max(1)).map(|number| Product::draw(rng, number, first_version)).collect();
        Catalogue { products }
    }

    /// A product by popularity: of 1,000, the first hundred draw nearly half of all looks.
    pub fn pick(&self, rng: &mut impl Rng) -> usize {
        let u: f64 = rng.random();
        ((u * u * u * self.products.len() as f64) as usize).min(self.products.len() - 1)
    }

    /// A category: its id, its name, and the places of up to four of its products, as a list page shows them.
    pub fn list(&self, rng: &mut impl Rng) -> (&'static str, &'static str, impl Iterator<Item = usize>) {
        let of = rng.random_range(0..CATEGORIES.len().min(self.products.len()));
        let in_category = (self.products.len() - of).div_ceil(CATEGORIES.len());
        let first = rng.random_range(0..in_category);
        let places = (first..in_category).take(4).map(move |nth| of + nth * CATEGORIES.len());
        (CATEGORIES[of].sku_prefix, CATEGORIES[of].name, places)
    }

    /// Something that people type into the search field.
    pub fn search(rng: &mut impl Rng) -> &'static str {
        let category = &CATEGORIES[rng.random_range(0..CATEGORIES.len())];
        pick(rng, category.searches)
    }
}

/// One of a list that is not empty.
pub(crate) fn pick<T: Copy>(rng: &mut impl Rng, of: &[T]) -> T {
    of[rng.random_range(0..of.len())]
}

/// A price in the range that ends the way prices do: 19.90, 24.95, 30.00.
fn draw_price(rng: &mut impl Rng, (least, most): (i64, i64)) -> Money {
    // Squared, so that most products are in the lower part of the range.
    let u: f64 = rng.random();
    let cents = least + ((most - least) as f64 * u * u) as i64;
    Money(cents - cents % 100 + pick(rng, &[90, 90, 95, 0, 50]))
}

fn slug(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}
