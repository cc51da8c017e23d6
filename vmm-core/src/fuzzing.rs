//! Private parts for the fuzz targets, behind the feature `fuzzing`. No interface for anyone else.
//!
//! What is here adds nothing of its own: each function is a door to code that guests or kernels reach.

mod block;
mod devices;
mod kernel;
mod machine;
mod state;

pub use crate::vsock::fuzzing::{GuestPort, PACKET_HEADER_BYTES};
pub use block::{BlockDriver, Rings};
pub use devices::attack_device;
pub use kernel::{Loaded, load_kernel};
pub use machine::{BareMachine, Prepared, prepare};
pub use state::TakenOver;
