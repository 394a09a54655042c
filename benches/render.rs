//! How many mails a core renders in a second: each shipped mail, with a made-up customer. `cargo bench --bench render`.

use std::path::Path;
use std::time::{Duration, Instant};

use beckon::config::{Config, Purpose};
use beckon::decision::Mailbox;
use beckon::pipeline::{compose, preview};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LASTS: Duration = Duration::from_millis(500);

fn main() -> anyhow::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("campaigns/all.toml");
    let config = Config::load(&path, Purpose::Check)?;
    let templates = compose::load_templates(&config)?;
    let from: Mailbox = "Example Shop <shop@example.com>".parse()?;
    for campaign in &config.campaigns {
        let context = preview::sample(campaign);
        for name in campaign.templates().into_iter().flatten() {
            let (began, mut mails, mut bytes) = (Instant::now(), 0_u32, 0);
            while began.elapsed() < LASTS {
                let mail = templates.render(name, &context, &from)?;
                bytes += mail.html.len() + mail.text.len();
                mails += 1;
            }
            let each = began.elapsed() / mails;
            let a_second = f64::from(mails) / began.elapsed().as_secs_f64();
            println!("{name:<22} {each:>10.1?} a mail  {a_second:>8.0} mails/s  {:>6} bytes", bytes / mails as usize);
        }
    }
    Ok(())
}
