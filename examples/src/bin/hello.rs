//! The lines of the front page, on an executor of a few lines: `hello [STORE] [IMAGE]`.
//!
//! Boots the kernel in STORE/kernel (an unpacked kernel package), or the host's own if there is none.

use session::{Error, Session, Store};

fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().unwrap_or_else(|| "playgrounds".to_owned());
    let image = args.next().unwrap_or_else(|| "oci:image".to_owned());
    // Any executor does, as operations run on threads of their own.
    pollster::block_on(hello(&dir, image))
}

async fn hello(dir: &str, image: String) -> Result<(), Error> {
    let store = Store::open(dir)?;
    let session = Session::from_image(&store, image)
        .memory_mib(256)
        .start()
        .await?;
    let write = session.command("sh").args(["-c", "echo hi > /note"]);
    println!("written: {}", write.output().await?.status);
    let snapshot = session.shutdown().await?;
    println!("the disk is safe: {snapshot}");

    let again = Session::from_snapshot(&store, &snapshot)
        .memory_mib(256)
        .start()
        .await?;
    let note = again.command("cat").arg("/note").output().await?;
    println!(
        "it says: {}",
        String::from_utf8_lossy(&note.stdout).trim_end()
    );
    again.terminate().await
}
