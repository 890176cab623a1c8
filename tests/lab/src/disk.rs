//! The root file systems of hosts.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::command;

/// Mounts a layer of its own over the image; with a size, one that holds no more.
pub(crate) async fn layer_over(
    image: &Path,
    directory: &Path,
    root: &Path,
    size: Option<&str>,
) -> Result<()> {
    let disk = directory.join("disk");
    for path in [root, &disk] {
        fs::create_dir_all(path)?;
    }
    if let Some(size) = size {
        let options = format!("size={size},mode=755");
        command::run("mount", &["-t", "tmpfs", "-o", &options, "lab-disk", &disk.to_string_lossy()]).await?;
    }
    for part in ["upper", "work"] {
        fs::create_dir_all(disk.join(part))?;
    }
    let (image, disk) = (image.display(), disk.display());
    let layers = format!("lowerdir={image},upperdir={disk}/upper,workdir={disk}/work");
    command::run("mount", &["-t", "overlay", "-o", &layers, "lab-host", &root.to_string_lossy()]).await?;
    Ok(())
}

/// Mounts a copy of the disk: a container's layers do not stack on layers, and the kubelet wants to know the device
/// below `/`. The file takes only the room that is used, and goes with the lab's directory.
pub(crate) async fn copy_of(image: &Path, directory: &Path, root: &Path) -> Result<()> {
    fs::create_dir_all(root)?;
    let disk = directory.join("disk.ext4");
    let (from, disk) = (image.to_string_lossy(), disk.to_string_lossy());
    command::run("cp", &["--sparse=always", "--reflink=auto", &from, &disk]).await?;
    // Neither survives this machine's own crash, so nothing has to be on the disk early.
    let options = "loop,nobarrier,noinit_itable";
    command::run("mount", &["-t", "ext4", "-o", options, &disk, &root.to_string_lossy()]).await?;
    Ok(())
}

/// Makes a disk of a directory.
pub(crate) async fn make(directory: &Path, disk: &Path, size: &str) -> Result<()> {
    let (directory, disk) = (directory.to_string_lossy(), disk.to_string_lossy());
    let options = ["-q", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", "-m", "0"];
    command::run("mkfs.ext4", &[&options[..], &["-d", &directory, &disk, size]].concat()).await?;
    Ok(())
}
