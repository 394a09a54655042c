//! Renders every mail of the example campaigns with made-up customers, to look at. In: a folder to write to. Out: `NAME.html` and
//! `NAME.txt` of each template there. `docs/mails/draw` makes the pictures of the README from them:
//!
//! ```sh
//! cargo run --example mails -- /tmp/mails
//! ```
//!
//! The pictures of products are drawn here, so that nothing is fetched.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use beckon::config::{Config, Purpose};
use beckon::decision::Mailbox;
use beckon::pipeline::{compose, preview};
use beckon::render::Context;

fn main() -> anyhow::Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).context("name the folder to write to")?);
    std::fs::create_dir_all(&folder)?;
    let campaigns = Path::new(env!("CARGO_MANIFEST_DIR")).join("campaigns/all.toml");
    let config = Config::load(&campaigns, Purpose::Check)?;
    let templates = compose::load_templates(&config)?;
    let from: Mailbox = "Example Shop <shop@example.com>".parse()?;
    for campaign in &config.campaigns {
        for name in campaign.templates().into_iter().flatten() {
            let context = Context { unsubscribe_url: Some(UNSUBSCRIBE.into()), ..preview::sample(campaign) };
            let mail = templates.render(name, &context, &from)?;
            let text = format!("Subject: {}\n\n{}", mail.subject, mail.text);
            std::fs::write(folder.join(format!("{name}.html")), with_drawings(mail.html))?;
            std::fs::write(folder.join(format!("{name}.txt")), text)?;
            println!("{name}: {}", mail.subject);
        }
    }
    Ok(())
}

const UNSUBSCRIBE: &str = "https://mail.example.com/u/example";

/// The samples' products, by SKU, as SVG.
const DRAWINGS: [(&str, &str); 5] = [
    (
        "LGT-00031",
        r##"<rect width="240" height="240" fill="#e9efe9"/><ellipse cx="120" cy="200" rx="52" ry="10" fill="#1f5a41"/><path d="M120 198V120L84 92" stroke="#1f5a41" stroke-width="9" fill="none" stroke-linecap="round"/><path d="M58 110 96 62l34 27z" fill="#2c7a58"/><circle cx="88" cy="104" r="13" fill="#ffe9a8"/>"##,
    ),
    (
        "KIT-00112",
        r##"<rect width="240" height="240" fill="#f6ead6"/><path d="M70 80h88v78a26 26 0 0 1-26 26H96a26 26 0 0 1-26-26z" fill="#c98a2b"/><path d="M158 100h14a22 22 0 0 1 0 50h-14" stroke="#c98a2b" stroke-width="12" fill="none"/><ellipse cx="114" cy="80" rx="44" ry="9" fill="#7b4f14"/><path d="M100 62c-8-12 8-16 0-30M126 62c-8-12 8-16 0-30" stroke="#cbb894" stroke-width="5" fill="none" stroke-linecap="round"/>"##,
    ),
    (
        "LGT-00007",
        r##"<rect width="240" height="240" fill="#e5eaf3"/><path d="M120 40v118" stroke="#24365e" stroke-width="8"/><path d="M70 96h100L148 44H92z" fill="#2f4678"/><ellipse cx="120" cy="96" rx="50" ry="8" fill="#ffe9a8"/><path d="M84 196h72l-14-40H98z" fill="#24365e"/>"##,
    ),
    (
        "HOM-00420",
        r##"<rect width="240" height="240" fill="#f3ede2"/><path d="M52 78h136v92q-34 20-68 0t-68 0z" fill="#d9c7a6"/><path d="M52 102h136M52 126h136M52 150h136" stroke="#c4ad84" stroke-width="6"/><path d="M58 178v18M78 184v18M98 186v18M142 186v18M162 184v18M182 178v18" stroke="#d9c7a6" stroke-width="5"/>"##,
    ),
    (
        "KIT-00087",
        r##"<rect width="240" height="240" fill="#e8ecee"/><path d="M72 120c0-30 96-30 96 0v34c0 34-96 34-96 0z" fill="#4c5b63"/><path d="M168 128c22-4 20-26 38-30M72 124c-34-6-34 44 2 36" stroke="#4c5b63" stroke-width="10" fill="none" stroke-linecap="round"/><path d="M84 100q36-16 72 0" stroke="#3a464d" stroke-width="8" fill="none"/><circle cx="120" cy="84" r="9" fill="#3a464d"/>"##,
    ),
];

/// The mail with its pictures in it.
fn with_drawings(html: String) -> String {
    DRAWINGS.iter().fold(html, |html, (sku, shapes)| {
        let svg = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 240 240" width="480" height="480">{shapes}</svg>"#
        );
        let drawn =
            svg.replace('%', "%25").replace('#', "%23").replace('"', "'").replace('<', "%3C").replace('>', "%3E");
        html.replace(&format!("https://img.example.com/{sku}.jpg"), &format!("data:image/svg+xml,{drawn}"))
    })
}
