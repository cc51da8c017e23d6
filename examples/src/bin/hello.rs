//! The ten lines of the front page: `hello [STORE] [IMAGE]`.
//!
//! Boots the kernel in STORE/kernel (an unpacked kernel package), or the host's own if there is none.

use session::{Error, Session, Store};

fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().unwrap_or_else(|| "playgrounds".to_owned());
    let image = args.next().unwrap_or_else(|| "oci:image".to_owned());

    let store = Store::open(dir)?;
    let session = Session::from_image(&store, image)
        .memory_mib(256)
        .start()
        .wait()?;
    let write = session.command("sh").args(["-c", "echo hi > /note"]);
    println!("written: {}", write.output().wait()?.status);
    let snapshot = session.shutdown().wait()?;
    println!("the disk is safe: {snapshot}");

    let again = Session::from_snapshot(&store, &snapshot)
        .memory_mib(256)
        .start()
        .wait()?;
    let note = again.command("cat").arg("/note").output().wait()?;
    println!(
        "it says: {}",
        String::from_utf8_lossy(&note.stdout).trim_end()
    );
    again.terminate().wait()
}
