//! The event names of the Segment e-commerce spec, v2, and their v1 aliases. In: a message's `event`. Out: what it means here,
//! or `None` for an event that no rule reads. Names are matched to the letter, as Segment writes them.

use beckon_dataflows::model::OrderStatus;

/// What a track message tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A product page was looked at.
    Viewed,
    /// A product was clicked, or put on the wishlist.
    Wanted,
    /// A product was put into a cart.
    Added,
    /// A product was taken out of a cart.
    Removed,
    /// The checkout began.
    CheckoutStarted,
    /// Something was searched for.
    Searched,
    /// An order is now this.
    Ordered(OrderStatus),
    /// Nothing but a sign of life.
    Seen,
}

/// Every name, with what it means.
const NAMES: [(&str, Event); 29] = [
    ("Product Viewed", Event::Viewed),
    ("Product Clicked", Event::Wanted),
    ("Product Added", Event::Added),
    ("Product Removed", Event::Removed),
    ("Product Added to Wishlist", Event::Wanted),
    ("Product Removed from Wishlist", Event::Seen),
    ("Product List Viewed", Event::Seen),
    ("Products Searched", Event::Searched),
    ("Cart Viewed", Event::Seen),
    ("Checkout Started", Event::CheckoutStarted),
    ("Order Completed", Event::Ordered(OrderStatus::Placed)),
    ("Order Updated", Event::Ordered(OrderStatus::Placed)),
    ("Order Cancelled", Event::Ordered(OrderStatus::Cancelled)),
    ("Order Refunded", Event::Ordered(OrderStatus::Refunded)),
    // v1
    ("Viewed Product", Event::Viewed),
    ("Clicked Product", Event::Wanted),
    ("Added Product", Event::Added),
    ("Removed Product", Event::Removed),
    ("Added Product to Wishlist", Event::Wanted),
    ("Removed Product from Wishlist", Event::Seen),
    ("Viewed Product List", Event::Seen),
    ("Viewed Product Category", Event::Seen),
    ("Searched Products", Event::Searched),
    ("Viewed Cart", Event::Seen),
    ("Started Checkout", Event::CheckoutStarted),
    ("Completed Order", Event::Ordered(OrderStatus::Placed)),
    ("Updated Order", Event::Ordered(OrderStatus::Placed)),
    ("Cancelled Order", Event::Ordered(OrderStatus::Cancelled)),
    ("Refunded Order", Event::Ordered(OrderStatus::Refunded)),
];

/// What the event of this name means.
#[inline]
pub(super) fn named(name: &str) -> Option<Event> {
    let (candidate, event) = *NAMES.get(usize::from(PLACES[slot(name.as_bytes(), FACTOR)]))?;
    (candidate == name).then_some(event)
}

// A perfect hash, found by the compiler: one probe and one comparison tell any name.

/// Slots of the table, enough that some factor puts every name in its own.
const SLOTS: usize = 256;
/// Marks a slot without a name.
const NO_PLACE: u8 = u8::MAX;
const FACTOR: u64 = perfect_factor();
/// A name's place in [`NAMES`], by its slot.
static PLACES: [u8; SLOTS] = places(FACTOR).0;

/// A slot from a name's first and last eight bytes and its length.
#[inline(always)]
const fn slot(name: &[u8], factor: u64) -> usize {
    let (Some(first), Some(last)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) else {
        return 0;
    };
    let mixed = u64::from_le_bytes(*first) ^ u64::from_le_bytes(*last).rotate_left(name.len() as u32);
    (mixed.wrapping_mul(factor) >> 56) as usize % SLOTS
}

/// The places under a factor, and whether every name has its own slot.
const fn places(factor: u64) -> ([u8; SLOTS], bool) {
    let mut places = [NO_PLACE; SLOTS];
    let mut place = 0;
    while place < NAMES.len() {
        let slot = slot(NAMES[place].0.as_bytes(), factor);
        if places[slot] != NO_PLACE {
            return (places, false);
        }
        places[slot] = place as u8;
        place += 1;
    }
    (places, true)
}

/// The first odd number from a mixing constant on under which no two names share a slot. Without one this does not compile.
const fn perfect_factor() -> u64 {
    let mut factor = 0x9E37_79B9_7F4A_7C15u64;
    while !places(factor).1 {
        factor = factor.wrapping_add(2);
    }
    factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_means_what_the_table_says_and_no_other_does() {
        for (name, event) in NAMES {
            assert_eq!(named(name), Some(event));
            assert_eq!(named(&name.to_lowercase()), None);
            assert_eq!(named(&name[1..]), None);
        }
        assert_eq!(named(""), None);
        assert_eq!(named("Signed Up"), None);
    }
}
