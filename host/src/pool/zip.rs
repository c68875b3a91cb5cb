//! A zip archive of files that are stored as they are.
//!
//! The same files make the same bytes, always and everywhere, so that the archive's name can be its digest.
//! Libraries are made for more, and to get that from them takes as many lines. The format is that of PKWARE's
//! APPNOTE.TXT 6.3, sections 4.3.7, 4.3.12 and 4.3.16.

/// 1980-01-01, the first day that the format knows.
const DATE: u16 = 0x0021;
const VERSION: u16 = 20;
/// Made by version 2.0, on Unix.
const MADE_BY: u16 = 0x0314;
/// A plain file that all may read.
const MODE: u32 = 0o100_644 << 16;
/// Names are UTF-8.
const FLAGS: u16 = 1 << 11;

/// The archive of these files, by their paths with `/`, in this order. Each is below 4 GiB, as is the whole,
/// and they are fewer than 65,536.
pub(super) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = Vec::new();
    let mut directory = Vec::new();
    for (path, content) in files {
        let offset = size(&zip);
        let described = describe(path, content);
        zip.extend_from_slice(&0x0403_4b50_u32.to_le_bytes());
        zip.extend_from_slice(&described);
        zip.extend_from_slice(path.as_bytes());
        zip.extend_from_slice(content);

        directory.extend_from_slice(&0x0201_4b50_u32.to_le_bytes());
        directory.extend_from_slice(&MADE_BY.to_le_bytes());
        directory.extend_from_slice(&described);
        // No comment, on the first disk, of binary content.
        directory.extend_from_slice(&[0; 6]);
        directory.extend_from_slice(&MODE.to_le_bytes());
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.extend_from_slice(path.as_bytes());
    }
    let (offset, length) = (size(&zip), size(&directory));
    let count = u16::try_from(files.len()).expect("there are fewer than 65,536 files");
    zip.extend_from_slice(&directory);
    zip.extend_from_slice(&0x0605_4b50_u32.to_le_bytes());
    // This disk is the first and the only one.
    zip.extend_from_slice(&[0; 4]);
    zip.extend_from_slice(&count.to_le_bytes());
    zip.extend_from_slice(&count.to_le_bytes());
    zip.extend_from_slice(&length.to_le_bytes());
    zip.extend_from_slice(&offset.to_le_bytes());
    // No comment.
    zip.extend_from_slice(&[0; 2]);
    zip
}

/// What stands of a file both before its content and in the directory.
fn describe(path: &str, content: &[u8]) -> Vec<u8> {
    let mut told = Vec::with_capacity(26);
    told.extend_from_slice(&VERSION.to_le_bytes());
    told.extend_from_slice(&FLAGS.to_le_bytes());
    // Stored, at midnight.
    told.extend_from_slice(&[0; 4]);
    told.extend_from_slice(&DATE.to_le_bytes());
    told.extend_from_slice(&crc32fast::hash(content).to_le_bytes());
    told.extend_from_slice(&size(content).to_le_bytes());
    told.extend_from_slice(&size(content).to_le_bytes());
    let name = u16::try_from(path.len()).expect("paths are short");
    told.extend_from_slice(&name.to_le_bytes());
    // No further fields.
    told.extend_from_slice(&[0; 2]);
    told
}

fn size(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("the archive is below 4 GiB")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn another_program_reads_the_archive() {
        let zip = archive(&[("a/b.py", b"print(1)\n"), ("c.txt", b""), ("\u{e9}", b"x")]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.zip");
        std::fs::write(&path, &zip).unwrap();
        let program = "import sys, zipfile\n\
            z = zipfile.ZipFile(sys.argv[1])\n\
            assert z.testzip() is None\n\
            print([(i.filename, i.external_attr >> 16, z.read(i)) for i in z.infolist()])";
        let read = Command::new("python3")
            .args(["-c", program])
            .arg(&path)
            .env("PYTHONIOENCODING", "utf-8")
            .output()
            .unwrap();
        let told = String::from_utf8(read.stdout).unwrap();
        assert_eq!(
            told.trim(),
            "[('a/b.py', 33188, b'print(1)\\n'), ('c.txt', 33188, b''), ('\u{e9}', 33188, b'x')]",
            "{}",
            String::from_utf8_lossy(&read.stderr)
        );
    }
}
