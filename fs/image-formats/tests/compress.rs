//! Compressed streams, judged by the tools that everybody unpacks them with.

use std::io::Write as _;
use std::num::NonZero;
use std::path::Path;

use image_core::Sink as _;
use image_core::laws::filler;
use image_formats::compress::{CompressingSink, Method, SMALL_XZ_BLOCK, StartError, XZ_BLOCK};

/// Bytes that compress, bytes that do not, and zeros.
fn content(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    let mut bytes = filler(len / 2, 3);
    bytes.extend(noise.take(len / 4));
    bytes.resize(len, 0);
    bytes
}

fn compressed(bytes: &[u8], method: Method, threads: usize, piece: usize) -> Vec<u8> {
    let mut sink = CompressingSink::new(Vec::new(), method, NonZero::new(threads).unwrap()).unwrap();
    let (mut at, len) = (0_u64, u64::try_from(bytes.len()).unwrap());
    for bytes in bytes.chunks(piece) {
        let end = at + u64::try_from(bytes.len()).unwrap();
        if bytes.iter().all(|byte| *byte == 0) {
            sink.hole(at..end).unwrap();
        } else {
            sink.data(at, bytes).unwrap();
        }
        at = end;
    }
    sink.finish(len).unwrap();
    sink.into_inner().unwrap()
}

fn methods() -> Vec<(Method, &'static str)> {
    vec![
        (Method::Gzip(1), "gzip"),
        (Method::Gzip(6), "gzip"),
        (Method::Gzip(9), "gzip"),
        (Method::Xz(1), "xz"),
        (Method::SmallXz(6), "xz"),
        (Method::Lz4(1), "lz4"),
        #[cfg(feature = "zstd")]
        (Method::Zstd(3), "zstd"),
    ]
}

/// What a tool makes of a stream.
fn unpacked(tool: &str, stream: &[u8], dir: &Path) -> Vec<u8> {
    let path = dir.join("stream");
    std::fs::write(&path, stream).unwrap();
    let input = std::fs::File::open(&path).unwrap();
    let output = std::process::Command::new(oracle::find(tool).unwrap())
        .arg("-dc")
        .stdin(input)
        .output()
        .unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{tool}: {output:?}"
    );
    output.stdout
}

#[test]
fn everybody_unpacks_them_and_threads_change_nothing() {
    if !oracle::require(&["gzip", "lz4", "xz", "zstd"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for len in [0, 1, 100_000, 512 * 1024, 512 * 1024 + 1, 5_000_000, 17 << 20] {
        let bytes = content(len);
        // Only blocks of lz4 are so long that it takes that much to have three.
        let long = len > 5_000_000;
        for (method, tool) in methods().into_iter().filter(|(_, tool)| !long || *tool == "lz4") {
            let stream = compressed(&bytes, method, 1, 64 * 1024);
            assert!(
                unpacked(tool, &stream, dir.path()) == bytes,
                "{method:?} of {len} bytes"
            );
            assert!(
                stream == compressed(&bytes, method, 3, 77_777),
                "{method:?} of {len} bytes"
            );
        }
    }
}

#[test]
fn every_level_of_gzip_is_for_everybody() {
    if !oracle::require(&["gzip", "pigz", "python3"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stream.gz");
    let script = "import sys, zlib
decoder = zlib.decompressobj(31)
bytes = decoder.decompress(open(sys.argv[1], 'rb').read())
assert decoder.eof and not decoder.unused_data
print(len(bytes), zlib.crc32(bytes))";
    let path_arg = path.as_os_str();
    let mut sizes = Vec::new();
    let bytes = [content(700_000), filler(300_000, 9), content(300_001)].concat();
    let mut crc = flate2::Crc::new();
    crc.update(&bytes);
    for level in 1..=9 {
        let stream = compressed(&bytes, Method::Gzip(level), 2, 64 * 1024);
        std::fs::write(&path, &stream).unwrap();
        for tool in ["gzip", "pigz"] {
            oracle::run(tool, &["-t".as_ref(), path_arg]);
        }
        let told = oracle::run("python3", &["-c".as_ref(), script.as_ref(), path_arg]);
        assert_eq!(told.trim(), format!("{} {}", bytes.len(), crc.sum()), "{level}");
        sizes.push(stream.len());
    }
    assert!(sizes[8] < sizes[1] && sizes[5] < sizes[0], "{sizes:?}");
}

#[test]
fn a_stream_is_one_member_one_frame_or_one_stream() {
    if !oracle::require(&["xz", "zstd"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let bytes = content(XZ_BLOCK + 100_000);
    // A decoder of one member leaves what follows it.
    let stream = compressed(&bytes, Method::Gzip(1), 2, 1 << 20);
    let mut decoder = flate2::bufread::GzDecoder::new(&stream[..]);
    let mut unpacked = Vec::new();
    std::io::Read::read_to_end(&mut decoder, &mut unpacked).unwrap();
    assert!(unpacked == bytes && decoder.into_inner().is_empty());

    let list = |tool: &str, stream: &[u8], args: &[&str]| {
        let path = dir
            .path()
            .join(format!("stream.{}", if tool == "xz" { "xz" } else { "zst" }));
        std::fs::File::create(&path).unwrap().write_all(stream).unwrap();
        let mut args: Vec<&std::ffi::OsStr> = args.iter().map(AsRef::as_ref).collect();
        args.push(path.as_ref());
        oracle::run(tool, &args)
    };
    let stream = compressed(&bytes, Method::Xz(1), 2, 1 << 20);
    let told = list("xz", &stream, &["--robot", "--list"]);
    let line = told.lines().find(|line| line.starts_with("file")).unwrap();
    let fields: Vec<&str> = line.split('\t').collect();
    assert_eq!((fields[1], fields[2], fields[6]), ("1", "2", "CRC32"), "{told}");
    let stream = compressed(&bytes[..=SMALL_XZ_BLOCK], Method::SmallXz(6), 2, 1 << 20);
    let told = list("xz", &stream, &["--list", "-vv"]);
    assert!(
        told.contains("Blocks:") && told.contains("--lzma2=dict=2MiB"),
        "{told}"
    );
    #[cfg(feature = "zstd")]
    {
        let stream = compressed(&bytes, Method::Zstd(3), 2, 1 << 20);
        let told = list("zstd", &stream, &["-lv"]);
        assert!(
            told.contains("Number of files listed: 1") || told.contains("# Zstandard Frames: 1"),
            "{told}"
        );
    }
}

#[test]
fn levels_that_are_not_are_refused() {
    for method in [
        Method::Gzip(0),
        Method::Gzip(10),
        Method::Xz(10),
        Method::SmallXz(10),
        Method::Lz4(2),
    ] {
        let refused = CompressingSink::new(Vec::new(), method, NonZero::<usize>::MIN);
        assert!(matches!(refused, Err(StartError::Level { .. })), "{method:?}");
    }
    let text = CompressingSink::new(Vec::new(), Method::Gzip(10), NonZero::<usize>::MIN).unwrap_err();
    assert_eq!(text.to_string(), "there is no level 10, only 1 to 9");
}

#[test]
fn bytes_come_in_order() {
    let mut sink = CompressingSink::new(Vec::new(), Method::Gzip(6), NonZero::<usize>::MIN).unwrap();
    sink.data(0, b"abc").unwrap();
    assert!(sink.data(4, b"e").is_err());
    assert!(sink.hole(5..6).is_err());
    assert!(sink.finish(4).is_err());
    sink.finish(3).unwrap();
    assert!(sink.data(3, b"d").is_err());
    assert!(sink.finish(3).is_err());
}
