//! VMs for the tests, and what they print.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use vmm_core::{Exit, Seccomp, Vm, VmConfig};

use super::initramfs::{env, with_script};

/// Emulated machines are slow; what takes longer than this hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// A console that can be read and waited for.
#[derive(Clone, Default)]
pub(crate) struct Screen(Arc<(Mutex<Vec<u8>>, Condvar)>);

impl Screen {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.0.lock().unwrap()).replace('\r', "")
    }

    /// Waits until `text` has been printed; returns how long that took.
    pub(crate) fn wait_for(&self, text: &str) -> Duration {
        let begun = Instant::now();
        while !self.text().contains(text) {
            assert!(
                begun.elapsed() < PATIENCE,
                "no {text:?} in:\n{}",
                self.text()
            );
            let bytes = self.0.0.lock().unwrap();
            let _ = self
                .0
                .1
                .wait_timeout(bytes, Duration::from_millis(100))
                .unwrap();
        }
        begun.elapsed()
    }
}

impl Write for Screen {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.0.lock().unwrap().extend(buf);
        self.0.1.notify_all();
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A machine that runs `script` after its boot. Were a system call missing from the lists, it would kill the tests.
pub(crate) fn config(script: &str, screen: &Screen) -> VmConfig {
    let mut config = VmConfig::new(&env("VM_TEST_KERNEL"));
    config.initrd = Some(with_script(script));
    config.console = Box::new(screen.clone());
    config.seccomp = Seccomp::Kill;
    config
}

/// Waits for the end of a run, which must come.
pub(crate) fn end(vm: &Vm, screen: &Screen) -> Exit {
    let exit = vm.wait_timeout(PATIENCE);
    exit.unwrap_or_else(|| panic!("the guest does not end:\n{}", screen.text()))
}
