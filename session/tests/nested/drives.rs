//! Sessions with drives besides their root.

use session::{Error, ExtraDrive, Session, Snapshot};

use super::bed::{Bed, env, kernel, patient, sh, sh_as_root};

const MIB: u64 = 1 << 20;

/// What a guest sees of its drives: what is mounted, how large it is, what is in it, and what it may not do.
const LOOK: &str = "grep -E ' /(data|data/deep|tools) ' /proc/mounts | cut -d' ' -f2-4 | cut -d, -f1-4; \
                    cat /data/note /data/deep/note; cmp /tools/bin/busybox /bin/busybox && echo same; \
                    touch /tools/x 2>/dev/null || echo refused";

/// Writes to the disk called `spare`, which is not mounted, and takes its digest.
const FILL_SPARE: &str =
    "dd if=/dev/urandom of=/dev/SPARE bs=1M count=8 conv=fsync 2>/dev/null; sha256sum /dev/SPARE";
const HASH_SPARE: &str = "sha256sum /dev/SPARE";
/// Makes the root file system as it will stay, which unmounts it as far as that goes from inside, and takes its digest.
const HASH_ROOT: &str =
    "sync; mount -o remount,ro / && echo 3 > /proc/sys/vm/drop_caches && sha256sum /dev/ROOT";

/// The device with this serial number in `script`.
fn with_device(script: &str, place: &str, serial: &str) -> String {
    let find = format!("d=$(grep -lx {serial} /sys/block/*/serial | cut -d/ -f4); ");
    find + &script.replace(place, "$d")
}

/// The first word of what a script prints: a digest.
fn digest(session: &Session, script: &str, place: &str, serial: &str) -> String {
    let printed = sh(session, &with_device(script, place, serial));
    let digest = printed.split_whitespace().next().unwrap_or_default();
    assert_eq!(digest.len(), 64, "{printed}");
    digest.to_owned()
}

fn check_all(bed: &Bed, snapshot: &Snapshot) {
    bed.check(snapshot.digest);
    // What is on the spare one is no file system.
    for drive in snapshot.drives.iter().filter(|drive| drive.name != "spare") {
        bed.check(drive.digest);
    }
}

async fn life(bed: &Bed) -> Result<(), Error> {
    let drives = [
        ExtraDrive::empty("deep", 64 * MIB).mount("/data/deep"),
        ExtraDrive::empty("data", 128 * MIB).mount_with("/data", ["noatime", "nosuid"]),
        ExtraDrive::from_snapshot("tools", bed.image)
            .read_only()
            .mount("/tools"),
        ExtraDrive::empty("spare", 8 * MIB),
    ];
    let builder = Session::from_snapshot(&bed.store, bed.image).id("drives");
    let builder = drives
        .into_iter()
        .fold(builder, |all, drive| all.drive(drive));
    let session = patient(builder.kernel(kernel())).start().await?;
    sh(
        &session,
        "grep -q ' /data ext4 rw,nosuid,noatime' /proc/mounts && \
         echo data > /data/note && echo deep > /data/deep/note && \
         dd if=/dev/zero of=/data/deep/file bs=1M count=20 2>/dev/null && \
         grep -q spare /sys/block/*/serial && ! grep -q ' /spare ' /proc/mounts",
    );
    let spare = digest(&session, FILL_SPARE, "SPARE", "spare");
    let before = sh(&session, LOOK);
    assert!(before.ends_with("data\ndeep\nsame\nrefused\n"), "{before}");
    assert!(before.contains("/tools ext4 ro"), "{before}");
    let root = digest(&session, HASH_ROOT, "ROOT", "session-root");
    let snapshot = session.shutdown().await?;
    drop(session);
    assert!(snapshot.clean);
    assert_eq!(bed.sha256(snapshot.digest), root);
    check_all(bed, &snapshot);
    let names: Vec<_> = snapshot
        .drives
        .iter()
        .map(|drive| drive.name.as_str())
        .collect();
    assert_eq!(names, ["deep", "data", "tools", "spare"]);
    assert_eq!(snapshot.drives[2].digest, bed.image);
    let listed = bed.store.session("drives")?.drives;
    let digests = |drives: &[session::DriveSnapshot]| -> Vec<_> {
        drives.iter().map(|drive| drive.digest).collect()
    };
    let recorded: Vec<_> = listed.iter().map(|drive| drive.snapshot).collect();
    assert_eq!(recorded, digests(&snapshot.drives));

    // The same again, without being told of any drive; then a power cut, which keeps what was synced.
    let session = patient(Session::resume(&bed.store, "drives"))
        .start()
        .await?;
    assert_eq!(sh(&session, LOOK), before);
    assert_eq!(digest(&session, HASH_SPARE, "SPARE", "spare"), spare);
    sh(&session, "echo later > /data/note && sync");
    drop(session);
    let session = patient(Session::resume(&bed.store, "drives"))
        .start()
        .await?;
    assert_eq!(sh(&session, "cat /data/note"), "later\n");
    let last = session.shutdown().await?;
    check_all(bed, &last);
    assert_ne!(last.drives[1].digest, snapshot.drives[1].digest);

    // A drive may go on in another session.
    let data = ExtraDrive::from_snapshot("other", &last.drives[1]).mount("/mnt/data");
    let builder = Session::from_snapshot(&bed.store, bed.image)
        .id("heir")
        .drive(data);
    // The first root again, as a disk that is not mounted: bit for bit what its own guest saw.
    let builder = builder.drive(ExtraDrive::from_snapshot("was", &snapshot).read_only());
    let heir = patient(builder.kernel(kernel())).start().await?;
    assert_eq!(digest(&heir, HASH_SPARE, "SPARE", "was"), root);
    assert_eq!(sh(&heir, "cat /mnt/data/note"), "later\n");
    heir.terminate().await?;
    bed.store.remove_session("drives")?;
    assert!(bed.store.sessions()?.is_empty());
    let left = bed.store.usage().start().await?;
    assert!(left.disks.is_empty(), "{:?}", left.disks);
    Ok(())
}

#[test]
fn drives_are_mounted_kept_and_given_on_with_their_session() {
    // Small, as a guest reads all of it.
    let bed = Bed::of(env("VM_TEST_BUSYBOX_IMAGE"), 16 * MIB);
    pollster::block_on(life(&bed)).unwrap();
}

/// A drive that is mounted before the image's init starts, at `/srv/data`.
pub(crate) fn data() -> ExtraDrive {
    ExtraDrive::empty("data", 64 * MIB).mount("/srv/data")
}

/// Waits until systemd has started everything, which must all be well with the drive of [`data`].
pub(crate) fn check_settled(session: &Session) {
    let settled = "for i in $(seq 150); do state=$(systemctl is-system-running 2>&1); \
                   case $state in running|degraded) break;; esac; sleep 1; done; \
                   echo $state; findmnt -no FSTYPE /srv/data; echo kept > /srv/data/note";
    assert_eq!(sh_as_root(session, settled), "running\next4\n");
}

/// The drive of [`data`] must have been unmounted by then.
pub(crate) fn check_kept(bed: &Bed, snapshot: &Snapshot) {
    check_all(bed, snapshot);
    assert!(snapshot.drives[0].clean && snapshot.drives[0].new_bytes > 0);
}
