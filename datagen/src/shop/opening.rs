//! What a shop has when it opens. In: a configuration. Out: catalogue, stock and customers, and the preamble that says
//! them. Cannot fail.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::shop::ShopConfig;
use crate::shop::catalog::Catalogue;
use crate::shop::customers::Customer;
use crate::shop::outbox::Outbox;
use crate::shop::stock::Stock;

/// See the module.
#[derive(Debug)]
pub(super) struct Opening {
    /// From which all that follows is drawn.
    pub rng: ChaCha8Rng,
    /// With the preamble, if asked.
    pub outbox: Outbox,
    pub catalogue: Catalogue,
    pub stock: Stock,
    pub customers: Vec<Customer>,
}

impl Opening {
    /// Draws everything from the seed, so that either mix has the same products and people.
    pub fn draw(config: &ShopConfig) -> Opening {
        let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
        let (skus, people) = (config.skus.max(1) as usize, config.customers.max(1) as usize);
        let catalogue = Catalogue::draw(&mut rng, skus, config.numbered_from);
        let stock = Stock::draw(&mut rng, skus, people, config.numbered_from);
        let draw_customer = |number| Customer::draw(&mut rng, number, config.numbered_from);
        let customers = (0..people).map(draw_customer).collect();
        let outbox = Outbox::new(config.seed, config.faults);
        let mut opening = Opening { rng, outbox, catalogue, stock, customers };
        if config.preamble {
            opening.announce(config.start_ms);
        }
        opening
    }

    /// Says the whole catalogue, all stock and all profiles, as of `time_ms`.
    fn announce(&mut self, time_ms: i64) {
        for product in &self.catalogue.products {
            self.outbox.say_plainly(product.record(time_ms).event());
        }
        for (sku, shelf) in self.stock.all() {
            let name = &self.catalogue.products[sku].sku;
            self.outbox.say_plainly(shelf.event(name, time_ms));
        }
        for customer in &self.customers {
            self.outbox.say_plainly(customer.with_record(time_ms, |record| record.event()));
        }
    }
}
