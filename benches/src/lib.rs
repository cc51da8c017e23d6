//! What the benchmarks and the `measure` program share: inputs that are the same in every run, and the arithmetic of
//! measurements.
#![forbid(unsafe_code)]

mod changes;
mod complain;
mod error;
mod extents;
mod floor;
mod guest;
mod latency;
mod numbers;
mod packs;
mod page_cache;
mod sample;

pub use changes::{Changes, Target};
pub use complain::complain;
pub use error::MeasureError;
pub use extents::{Extents, data_of};
pub use floor::{Floor, floor};
pub use guest::GuestArgs;
pub use latency::Latencies;
pub use numbers::Numbers;
pub use packs::{Added, Frames};
pub use page_cache::forget;
pub use sample::{Sample, image_or_sample};

/// Bytes of the blocks that guests write and that most reads ask for.
pub const BLOCK: usize = 4096;
