//! Tests of the test bed itself, with skopeo and a client without manners.

#![expect(clippy::unwrap_used, reason = "a test that can not go on may panic")]

mod client;
mod faults;
mod faults_of_uploads;
mod front;
mod image;
mod proxy;
mod registry;
