"""Downloading, from a real server on this machine: broken, resumed, changed, forged."""

import hashlib
import http.server
import io
import sys
import threading
import zipfile
from dataclasses import replace
from email.utils import formatdate

import numpy as np
import pytest
from conftest import SAMPLES

from lightser.cli import main
from lightser.corpora import CORPORA, Download
from lightser.corpora.download import BrokenDownload, download_corpus, fetch, unpack
from lightser.errors import BadCorpus

CONTENT = np.random.default_rng(0).integers(0, 256, 1_000_000, dtype=np.uint8).tobytes()


class Publisher(http.server.BaseHTTPRequestHandler):
    """Serves one file; how well, is said by the attributes of its server."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        server.asked.append(dict(self.headers))
        if server.status != 200:
            return self.send_error(server.status)
        content, start = server.content, 0
        asked = self.headers.get("Range")
        same = self.headers.get("If-Range") in (None, server.etag, server.modified)
        if asked and server.ranges and same:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if server.etag:
            self.send_header("ETag", server.etag)
        if server.modified:
            self.send_header("Last-Modified", server.modified)
        body = content[start:]
        if server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        stop = len(body) if server.break_after is None else server.break_after
        sent = body[:stop]
        if server.chunked:
            self.wfile.write(f"{len(sent):x}\r\n".encode() + sent + b"\r\n")
            if stop >= len(body):
                self.wfile.write(b"0\r\n\r\n")
        else:
            self.wfile.write(sent)
        if stop < len(body):
            self.wfile.flush()
            if server.stall:
                server.released.wait(60)
            self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Publisher) as server:
        server.content, server.asked, server.released = CONTENT, [], threading.Event()
        server.status, server.ranges, server.chunked, server.stall = 200, True, False, False
        server.etag, server.modified, server.break_after = '"v1"', None, None
        server.url = f"http://127.0.0.1:{server.server_port}/files/corpus.zip?download=1"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def item(server, **more):
    return Download(url=server.url, **more)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_transfer_brings_the_file_and_leaves_nothing_beside_it(server, tmp_path):
    sha256, md5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()
    seen = []
    archive = fetch(
        item(server, sha256=sha256, md5=md5), tmp_path, progress=lambda *at: seen.append(at)
    )
    assert archive == tmp_path / "corpus.zip"
    assert archive.read_bytes() == CONTENT
    assert names(tmp_path) == ["corpus.zip"]
    assert seen[0] == (0, len(CONTENT)) and seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("tag", [{"etag": '"v1"'}, {"etag": None, "modified": formatdate(0)}])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_broken_transfer_goes_on_from_where_it_broke_off(server, tmp_path, tag, chunked):
    vars(server).update(tag, chunked=chunked, break_after=300_000)
    with pytest.raises(BrokenDownload, match=r"broke off at 0\.3 .*run the same again"):
        fetch(item(server), tmp_path)
    assert names(tmp_path) == ["corpus.zip.part", "corpus.zip.part.tag"]
    server.break_after = None
    assert fetch(item(server), tmp_path).read_bytes() == CONTENT
    assert server.asked[1]["Range"] == "bytes=300000-"
    assert names(tmp_path) == ["corpus.zip"]


def test_a_transfer_that_breaks_again_and_again_arrives(server, tmp_path):
    server.break_after = 300_000
    for _ in range(3):
        with pytest.raises(BrokenDownload):
            fetch(item(server), tmp_path)
    assert fetch(item(server), tmp_path).read_bytes() == CONTENT  # the last 100 kB
    assert len(server.asked) == 4


def test_a_server_that_cannot_go_on_is_asked_for_all_of_it(server, tmp_path):
    vars(server).update(ranges=False, break_after=300_000)
    with pytest.raises(BrokenDownload):
        fetch(item(server), tmp_path)
    server.break_after = None
    assert fetch(item(server), tmp_path).read_bytes() == CONTENT
    assert "Range" in server.asked[1]


def test_a_file_that_changed_meanwhile_is_not_glued_to_the_old_part(server, tmp_path):
    server.break_after = 300_000
    with pytest.raises(BrokenDownload):
        fetch(item(server), tmp_path)
    vars(server).update(content=CONTENT[::-1], etag='"v2"', break_after=None)
    assert fetch(item(server), tmp_path).read_bytes() == CONTENT[::-1]


def test_without_tag_and_checksum_a_part_is_not_trusted(server, tmp_path):
    vars(server).update(etag=None, break_after=300_000)
    with pytest.raises(BrokenDownload):
        fetch(item(server), tmp_path)
    vars(server).update(content=CONTENT[::-1], break_after=None)
    assert fetch(item(server), tmp_path).read_bytes() == CONTENT[::-1]
    assert "Range" not in server.asked[1]


def test_without_tag_a_checksum_lets_a_part_go_on(server, tmp_path):
    vars(server).update(etag=None, break_after=300_000)
    wanted = item(server, sha256=hashlib.sha256(CONTENT).hexdigest())
    with pytest.raises(BrokenDownload):
        fetch(wanted, tmp_path)
    server.break_after = None
    assert fetch(wanted, tmp_path).read_bytes() == CONTENT
    assert server.asked[1]["Range"] == "bytes=300000-"


def test_a_part_that_is_already_whole_is_only_checked(server, tmp_path):
    (tmp_path / "corpus.zip.part").write_bytes(CONTENT)
    wanted = item(server, sha256=hashlib.sha256(CONTENT).hexdigest())
    assert fetch(wanted, tmp_path).read_bytes() == CONTENT


def test_a_part_that_is_longer_than_the_file_is_begun_anew(server, tmp_path):
    (tmp_path / "corpus.zip.part").write_bytes(CONTENT + b"more")
    wanted = item(server, sha256=hashlib.sha256(CONTENT).hexdigest())
    assert fetch(wanted, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_wrong_checksum_is_said_with_both_sums_and_the_file_is_removed(server, tmp_path, kind):
    got = hashlib.new(kind, CONTENT).hexdigest()
    with pytest.raises(BrokenDownload, match=f"its {kind.upper()} is {got}, not beef"):
        fetch(item(server, **{kind: "beef"}), tmp_path)
    assert names(tmp_path) == []


def test_a_server_that_falls_silent_is_given_up(server, tmp_path):
    vars(server).update(break_after=300_000, stall=True)
    with pytest.raises(BrokenDownload, match=r"broke off at .*timed out"):
        fetch(item(server), tmp_path, timeout_s=0.3)
    assert (tmp_path / "corpus.zip.part").stat().st_size > 0


@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_refusal_is_said_with_address_and_status(server, tmp_path, status):
    server.status = status
    with pytest.raises(BrokenDownload, match=rf"corpus\.zip.* answers {status} "):
        fetch(item(server), tmp_path)


def test_a_server_that_is_not_there_is_said_in_one_line(tmp_path):
    with pytest.raises(BrokenDownload, match=r"Cannot fetch http://127\.0\.0\.1:9/a\.zip: "):
        fetch(Download(url="http://127.0.0.1:9/a.zip"), tmp_path)
    assert names(tmp_path) == []


# Archives.


def packed(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def write(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    return tmp_path / "a.zip"


def test_an_archive_is_unpacked_without_what_macos_adds(tmp_path):
    archive = write(tmp_path, packed(**{"wav/a.wav": "a", "wav/deep/b": "b", "__MACOSX/c": "c"}))
    unpack(archive, tmp_path / "out")
    found = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert found == ["a.zip", "out/wav/a.wav", "out/wav/deep/b"]


def test_the_folder_inside_an_archive_is_taken_alone(tmp_path):
    archive = write(tmp_path, packed(**{"top/data.tsv": "x", "top/samples/a": "a", "other": "y"}))
    unpack(archive, tmp_path / "out", "top")
    assert names(tmp_path / "out") == ["data.tsv", "samples"]
    with pytest.raises(BrokenDownload, match="holds no folder 'bottom'"):
        unpack(archive, tmp_path / "out", "bottom")


@pytest.mark.parametrize(
    "name", ["../evil", "wav/../../evil", "/tmp/evil", "..\\evil", "C:\\evil", "C:evil"]
)
def test_an_archive_that_leads_out_of_the_folder_is_refused_whole(tmp_path, name):
    archive = write(tmp_path, packed(**{"good": "g", name: "e"}))
    with pytest.raises(BrokenDownload, match="leads out of the folder"):
        unpack(archive, tmp_path / "out")
    assert names(tmp_path) == ["a.zip"]


def test_a_link_in_an_archive_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("wav")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc")
        archive.writestr("wav/passwd", "x")
    with pytest.raises(BrokenDownload, match="leads out of the folder"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_a_damaged_archive_is_removed_so_that_it_can_be_fetched_again(tmp_path):
    good = packed(a=CONTENT)
    for damaged in [good[:-100], good[:5000] + b"\0\1\2\3" + good[5004:], b"<html>no</html>"]:
        archive = write(tmp_path, damaged)
        with pytest.raises(BrokenDownload, match="damaged archive"):
            unpack(archive, tmp_path / "out")
        assert not archive.exists()
        assert not (tmp_path / "out" / "a").exists()


# A whole corpus.


@pytest.fixture
def small_emodb(server):
    """Emo-DB as if three clips were all of it, offered by the server on this machine."""
    clips = sorted(SAMPLES.glob("*.flac"))
    server.content = packed(**{f"top/wav/{clip.name}": clip.read_bytes() for clip in clips})
    corpus = replace(
        CORPORA["emodb"],
        utterances=3,
        counts={},
        expected=lambda root: {clip.stem for clip in clips},
        downloads=(
            Download(
                url=server.url,
                sha256=hashlib.sha256(server.content).hexdigest(),
                size=len(server.content),
                folder="top",
            ),
        ),
    )
    original = CORPORA["emodb"]
    dict.__setitem__(CORPORA, "emodb", corpus)  # the registry itself refuses a second emodb
    yield corpus
    dict.__setitem__(CORPORA, "emodb", original)


def test_a_corpus_is_fetched_unpacked_and_tidied_up(small_emodb, server, tmp_path):
    assert download_corpus("emodb", tmp_path / "emodb")
    assert names(tmp_path / "emodb") == ["wav"]
    assert len(names(tmp_path / "emodb" / "wav")) == 3
    assert not download_corpus("emodb", tmp_path / "emodb")  # it is whole already
    assert len(server.asked) == 1


def test_an_archive_that_was_brought_by_hand_is_taken(small_emodb, server, tmp_path):
    (tmp_path / "corpus.zip").write_bytes(server.content)
    assert download_corpus("emodb", tmp_path)
    assert server.asked == []
    assert names(tmp_path) == ["wav"]


def test_the_command_breaks_off_with_2_and_goes_on_when_run_again(
    small_emodb, server, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(
        sys, "argv", ["lightser", "corpus", "download", "emodb", str(tmp_path / "emodb")]
    )
    server.break_after = 20_000
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("lightser: The transfer of") and "run the same again" in last

    server.break_after = None
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert server.asked[1]["Range"] == "bytes=20000-"
    said = capsys.readouterr()
    assert said.out == ""
    assert "CC0-1.0" in said.err
    assert f"3 of 3 utterances fetched into {tmp_path / 'emodb'}" in said.err


def test_a_corpus_that_nobody_offers_says_so(tmp_path):
    with pytest.raises(BadCorpus, match="Nobody offers"):
        download_corpus("folder", tmp_path)


def test_a_folder_that_cannot_be_written_is_said(small_emodb, tmp_path):
    (tmp_path / "emodb").write_text("a file, not a folder")
    with pytest.raises(BadCorpus, match="Cannot write into"):
        download_corpus("emodb", tmp_path / "emodb")


@pytest.mark.parametrize("name", [name for name, corpus in CORPORA.items() if corpus.downloads])
def test_what_a_publisher_offers_is_on_the_web_and_an_archive(name):
    for offer in CORPORA[name].downloads:
        assert offer.url.startswith(("https://", "http://"))
        assert ".zip" in offer.url
