//! `{{live BLOCK LINE height=28 class="badge"}}`: a picture that shows what is so when the mail is opened; BLOCK is `"stock"`, `"price"` or
//! `"countdown"`, LINE one of the products, such as `hero`, and of a countdown left out. Its `alt` says what is so when the mail is made.
//! Nothing where there is no product, or nowhere that pictures come from. In: a template's call. Out: markup. Fails on another block.

use beckon_dataflows::model::Tick;
use handlebars::{Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderErrorReason};
use serde_json::Value;

use super::{Call, Missing, urlencode, write_attributes};
use crate::render::clean;
use crate::render::live::{Block, Known, say};

/// How high it is shown unless said otherwise, pixels.
const HEIGHT: u64 = 28;

/// The helper.
pub(super) struct Live(pub Missing);

impl HelperDef for Live {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let call = Call { name: "live", helper, root: context.data(), missing: self.0 };
        let name = call.given(0)?.value().as_str().unwrap_or_default();
        let block: Block = name.parse().map_err(|()| {
            RenderErrorReason::Other(format!("`live` knows \"stock\", \"price\" and \"countdown\", and not {name:?}"))
        })?;
        let line = if block == Block::Countdown { &Value::Null } else { call.nullable(1)? };
        let sku = line.get("sku").and_then(Value::as_str);
        let Some(url) = call.root.get("live_url").and_then(Value::as_str) else { return Ok(()) };
        if sku.is_none() && block != Block::Countdown {
            return Ok(());
        }
        let query = sku.map(|sku| format!("?sku={}", urlencode(sku))).unwrap_or_default();
        let alt = say(block, &known(call.root, line), call.locale()).map(|words| words.text).unwrap_or_default();
        let height = helper.hash_get("height").and_then(|height| height.value().as_u64()).unwrap_or(HEIGHT);
        let address = clean::html(&format!("{url}/{name}.png{query}"));
        out.write(&format!("<img src=\"{address}\" alt=\"{}\" height=\"{height}\"", clean::html(&alt)))?;
        write_attributes(&["class", "style"], helper, out)?;
        out.write(">")?;
        Ok(())
    }
}

/// What is known when the mail is made.
fn known<'k>(root: &'k Value, line: &'k Value) -> Known<'k> {
    let time = |name: &str| root.get(name).and_then(Value::as_u64);
    Known {
        on_hand: line.get("on_hand").and_then(Value::as_i64),
        price: line.get("price").and_then(|price| price.as_str()?.parse().ok()),
        was: None,
        currency: root.get("currency").and_then(Value::as_str),
        expires_at: time("expires_at"),
        now: time("now").unwrap_or_default() as Tick,
    }
}
