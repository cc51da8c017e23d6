//! Files into the guest and out of it, as tar streams.
//!
//! Invariant: what a guest sends makes files in the folder that the caller named alone, under the name that the caller
//! gave.

mod into;
mod job;
mod out;
#[cfg(test)]
mod tests;

pub use agent::protocol::Copied;
pub use into::CopyIn;
pub use out::{CopyOut, GuestTar};

/// Who is told how far a copy has come.
type Report = Box<dyn FnMut(&Copied) + Send>;

/// Who is told nothing.
fn unheard() -> Report {
    Box::new(|_| ())
}
