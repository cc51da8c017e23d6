//! Guests that are measured.

use std::path::PathBuf;
use std::time::Duration;

use session::{Kernel, SessionBuilder};

/// Emulated machines are slow; what takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// What guests are started from.
#[derive(Debug, clap::Args)]
pub struct GuestArgs {
    /// The kernel to boot.
    #[arg(long)]
    kernel: PathBuf,
    /// Its modules.
    #[arg(long)]
    modules: PathBuf,
    /// The image to start.
    #[arg(long)]
    pub image: String,
}

impl GuestArgs {
    /// A session on this kernel, with the time that an emulated machine takes.
    ///
    /// # Errors
    /// [`session::ErrorKind::Kernel`].
    pub fn prepare(&self, builder: SessionBuilder) -> Result<SessionBuilder, session::Error> {
        let kernel = Kernel::from_path(&self.kernel)?.with_modules(&self.modules);
        let builder = builder.id("measured").kernel(kernel);
        Ok(builder.boot_timeout(PATIENCE).shutdown_timeout(PATIENCE))
    }
}
