//! Progress bars on standard error, where that is a terminal.

use std::io::{self, IsTerminal};
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use session::{Progress, Stage};

/// Bytes done, and how many a second.
const TEMPLATE: &str =
    "{msg:8} {bar:40} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";

/// A bar for the stage that is under way.
#[derive(Debug, Default)]
pub(crate) struct Bar {
    current: Mutex<Option<(Stage, ProgressBar)>>,
}

impl Progress for Bar {
    fn advance(&self, stage: Stage, done: u64, total: u64) {
        if !io::stderr().is_terminal() {
            return;
        }
        let Ok(mut current) = self.current.lock() else {
            return;
        };
        if current.as_ref().is_none_or(|(shown, _)| *shown != stage) {
            finish(&mut current);
            *current = Some((stage, bar(stage, total)));
        }
        if let Some((_, bar)) = &*current {
            bar.set_length(total);
            bar.set_position(done);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Ok(mut current) = self.current.lock() {
            finish(&mut current);
        }
    }
}

fn finish(current: &mut Option<(Stage, ProgressBar)>) {
    if let Some((_, bar)) = current.take() {
        bar.finish_and_clear();
    }
}

fn bar(stage: Stage, total: u64) -> ProgressBar {
    let name = match stage {
        Stage::Archive => "archive",
        Stage::Layers => "layers",
        Stage::Chunks => "chunks",
        Stage::Export => "export",
        Stage::Collect => "deciding",
        Stage::Verify => "reading",
        Stage::Compact => "copying",
        Stage::Push => "sending",
        Stage::Fetch => "fetching",
        Stage::Publish => "writing",
        _ => "working",
    };
    let style = ProgressStyle::with_template(TEMPLATE);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr())
        .with_style(style)
        .with_message(name)
}
