//! Products by SKU. In: `catalog` records, last write wins. Out: the product as the catalog has it, replaced as it changes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::counts::Counts;
use crate::model::{CatalogRecord, Diff, Id, Product, Stream, Tick, Written};
use crate::per_key::{Never, Next, PerKey};

/// The rule of a product.
pub struct Products {
    /// Where stale records are counted.
    pub counts: Arc<Counts>,
}

/// The last write of a SKU.
#[derive(Default, Serialize, Deserialize)]
pub struct LastProduct(Option<(Written, Arc<Product>)>);

impl PerKey for Products {
    type In = CatalogRecord;
    type State = LastProduct;
    type Out = (Id, Arc<Product>);
    type Wake = Never;

    fn visit(
        &mut self,
        _now: Tick,
        key: Id,
        LastProduct(last): &mut LastProduct,
        changes: &mut dyn Iterator<Item = (CatalogRecord, Diff)>,
        emit: &mut dyn FnMut((Id, Arc<Product>), Diff),
    ) -> Next {
        let mut changes: Vec<CatalogRecord> = changes.map(|(change, _)| change).collect();
        changes.sort_unstable_by_key(|record| record.written);
        let before = last.as_ref().map(|(_, product)| product.clone());
        for record in changes {
            if last.as_ref().is_some_and(|(written, _)| record.written <= *written) {
                self.counts.stale(Stream::Catalog);
            } else {
                *last = Some((record.written, record.product));
            }
        }
        let after = last.as_ref().map(|(_, product)| product.clone());
        if before != after {
            before.into_iter().for_each(|product| emit((key, product), -1));
            after.into_iter().for_each(|product| emit((key, product), 1));
        }
        Next::Keep
    }

    fn restate(&self, key: Id, LastProduct(last): &LastProduct, emit: &mut dyn FnMut((Id, Arc<Product>))) {
        last.iter().for_each(|(_, product)| emit((key, product.clone())));
    }
}
