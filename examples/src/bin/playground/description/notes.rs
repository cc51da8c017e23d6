//! What is noted of a session.

use std::time::Duration;

use clap::Args;
use session::About;

use super::pair;
use crate::duration;

/// What is noted of a session; what is not given stays as it is.
#[derive(Debug, Default, Args)]
pub(crate) struct NoteArgs {
    /// What people shall call the session
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// A label of the session; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// How long after its shutdown `clean` removes it
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    keep_for: Option<Duration>,
    /// Keep it however old it is
    #[arg(long)]
    pub(crate) pin: bool,
}

impl NoteArgs {
    pub(super) fn is_empty(&self) -> bool {
        self.title.is_none() && self.labels.is_empty() && self.keep_for.is_none() && !self.pin
    }

    pub(crate) fn apply(&self, about: &mut About) {
        about.title = self.title.clone().or(about.title.take());
        about.labels.extend(self.labels.iter().cloned());
        about.keep_for = self.keep_for.or(about.keep_for);
        about.pinned |= self.pin;
    }
}
