//! What a program says when it fails.

use std::error::Error;

/// Prints an error and its causes to standard error.
pub fn complain(program: &str, error: &dyn Error) {
    eprintln!("{program}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  because {error}");
        cause = error.source();
    }
}
