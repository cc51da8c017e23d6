//! Tests of the store through its public face, with tools of others as oracles.

mod import;
mod sample_image;
