"""Names of images: whatever somebody wrote, a name is safe, short and nobody else's."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fluxbatch.config.loading import load_settings
from fluxbatch.domain.filenames import (
    DEFAULT_TEMPLATE,
    OUTPUTS_A_FOLDER,
    NameFields,
    PathTemplate,
    is_stem,
    output_stem,
    shard_of,
    sidecar_path,
    slug,
    stem_of_path,
    wanted_path,
)
from fluxbatch.errors import ConfigError

JOB = "0123456789abcdef" * 2
_FIELDS = [
    "{job}", "{job8}", "{job2}", "{number}", "{model}", "{prompt}", "{seed}", "{row}", "{id}",
    "{axis.style}", "{input.guidance}", "{input.prompt}",
]  # fmt: skip
PIECES = st.one_of(
    st.sampled_from(_FIELDS),
    st.sampled_from(["-", "_", "a", "CON", "v1.5", "..", ".", "~", "{", "}", "фото", "é", " "]),
    st.text(max_size=4),
)
TEMPLATES = st.lists(st.lists(PIECES, max_size=4).map("".join), min_size=1, max_size=4).map(
    "/".join
)
TEXTS = st.one_of(
    st.text(max_size=300),
    st.sampled_from(
        ["../../etc/passwd", "/abs", "con", "NUL", ".hidden", "-rf", "a\0b", "CAT", "cat", "\ud800",
         "کتاب", "한글", "\uff26\uff35", "İI", "ß", "हिन्दी", "x" * 5000, f"{JOB}_0", "\u202egpj",
         "a/b\\c"]
    ),
)  # fmt: skip
JOBS = st.one_of(
    st.integers(0, 2**128 - 1).map("{:032x}".format),
    st.sampled_from([JOB, JOB[:-1] + "0", "0" * 32, "f" * 32]),
)
NAMED = st.builds(
    NameFields,
    job=JOBS,
    edition=st.integers(0, 12),
    number=st.integers(0, 12),
    model=TEXTS,
    input=st.fixed_dictionaries({"prompt": TEXTS, "guidance": st.one_of(st.floats(), TEXTS)}),
    seed=st.none() | st.integers(),
    row=st.none() | st.integers(1),
    row_id=st.none() | TEXTS,
    axes=st.fixed_dictionaries({}, optional={"style": TEXTS}),
)


def as_a_disk_may_read(stem: str) -> str:
    """Where case does not count and letters may be taken apart."""
    return unicodedata.normalize("NFD", stem.casefold())


@given(TEMPLATES, st.lists(NAMED, min_size=2, max_size=5), st.integers(0, 3))
@example("{prompt}/{id}", [NameFields(JOB, input={"prompt": ".."}), NameFields(JOB, 1)], 0)
@example("{id}{job}{id}", [NameFields(JOB, row_id="a"), NameFields(JOB, 1, row_id="A")], 1)
@example("CON_{job8}", [NameFields(JOB), NameFields(JOB[::-1])], 0)
def test_any_template_that_settings_take_names_safely_and_apart(
    template: str, named: list[NameFields], shard: int
) -> None:
    """
    Below the folder, each part valid UTF-8 of at most 255 bytes with any ending, and two outputs
    never share a name, even where case and composition of letters do not count.
    """
    try:
        parsed = PathTemplate(template)
    except ValueError:
        return
    apart = {one[:3]: parsed.stem(one, shard) for one in named}

    for stem in apart.values():
        assert is_stem(stem)
        assert stem_of_path(wanted_path(stem)) == stem == stem_of_path(f"images/{stem}.webp")
        path = PurePosixPath(sidecar_path(f"images/{stem}.webp"))
        assert not path.is_absolute()
        assert path.parts[0] == "images"
        for part in path.parts:
            assert part not in {"", ".", ".."}
            assert part[0] not in "-."
            assert len(part.encode("utf-8")) <= 255
            assert not any(unicodedata.category(char) in {"Cc", "Cf", "Cs"} for char in part)
            assert not re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)", part.split(".")[0])
    assert len({as_a_disk_may_read(stem) for stem in apart.values()}) == len(apart)


def test_the_default_gives_the_names_there_have_always_been() -> None:
    """
    A dataset made before there were templates goes on without a break.
    """
    template = PathTemplate(DEFAULT_TEMPLATE)

    assert template.is_default
    assert not template.needs_record
    assert template.stem(NameFields(JOB, 0, 3)) == f"{JOB}_3" == output_stem(JOB, 0, 3)
    assert template.stem(NameFields(JOB, 2, 0)) == f"{JOB}_r2_0" == output_stem(JOB, 2, 0)


@pytest.mark.parametrize(
    ("template", "stem"),
    [
        ("{prompt}", f"a-cat-on-a-mat_{JOB}_1"),
        ("{prompt}_{job8}_{number}", f"a-cat-on-a-mat_{JOB}_1"),
        ("{axis.style}/{seed}", f"oil-paint/42_{JOB}_1"),
        ("{job2}/{job}_{number}", f"01/{JOB}_1"),
        ("Set-1.5/{id}-{row}", f"Set-1.5/lamp-7-3_{JOB}_1"),
        ("{axis.none}/{input.guidance}", f"none/10_{JOB}_1"),
        ("фото/{model}", f"фото/flux-depth-dev_{JOB}_1"),
    ],
)
def test_a_name_ends_in_its_job_and_number(template: str, stem: str) -> None:
    """
    Once: a template that names them at its end does not get them twice.
    """
    named = NameFields(
        JOB, 0, 1, "flux-depth-dev", {"prompt": "A cat, on a MAT!", "guidance": 10}, 42, 3,
        "Lamp 7", {"style": "Oil paint"},
    )  # fmt: skip
    assert PathTemplate(template).stem(named) == stem


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("", "is empty"),
        ("/abs/{job}", "is no path below images/"),
        ("~/x", "is no path below images/"),
        ("C:x", "is no path below images/"),
        ("a\\b", "is no path below images/"),
        ("a/../{job}", "images stay below images/"),
        ("./{job}", "images stay below images/"),
        ("a//b", "empty part"),
        ("a/", "its last part names the file"),
        (".hidden/{job}", "would be hidden"),
        ("-rf/{job}", "would look like an option"),
        ("nul/{job}", "no name for a file on Windows"),
        ("a b", "use letters, digits"),
        ("a\n", "use letters, digits"),
        ("{promt}", r"did you mean \{prompt\}\?"),
        ("{job:8}", "is no field"),
        ("{axis.}", "is no field"),
        ("{}", "is no field"),
        ("{job", "a lone '{'"),
        ("{prompt}.png", "gets its ending by itself"),
        ("x" * 101, "more than 100 bytes"),
        ("a/b/c/d/e/f/g/{job}", "6 at most"),
    ],
)
def test_a_template_that_cannot_be_is_refused_when_settings_load(template: str, said: str) -> None:
    """
    By the setting's name, with what to write instead; nothing is bought before.
    """
    with pytest.raises(ConfigError, match=said) as refused:
        load_settings(None, {"sink": {"path_template": template}}, {})
    assert "sink.path_template: " in str(refused.value)


def test_folders_are_opened_by_the_thousand() -> None:
    """
    With a sidecar each, no folder has more than 10,000 files.
    """
    template, most = PathTemplate("{job2}/{prompt}"), 3 * OUTPUTS_A_FOLDER
    folders = [
        template.stem(NameFields(JOB, 0, n), shard_of(n)).rpartition("/")[0] for n in range(most)
    ]

    assert 2 * max(folders.count(folder) for folder in set(folders)) <= 10_000
    assert sorted(set(folders)) == ["01", "01/0001", "01/0002"]
    assert all(before <= after for before, after in pairwise(folders))


@given(TEXTS)
def test_words_in_a_path_are_plain(text: str) -> None:
    """
    Letters and digits of any script, lower case, never empty, never long.
    """
    words = slug(text)
    assert words
    assert len(words.encode()) <= 80
    assert words[0] != "-" != words[-1]
    assert all(c == "-" or unicodedata.category(c)[0] in "LMN" for c in words)


@pytest.mark.parametrize(
    "path",
    [
        "images/../../secret.png",
        "elsewhere/x.png",
        "images/",
        "images/.x",
        "/images/x",
        "images/a b",
    ],
)
def test_a_path_that_leads_elsewhere_has_no_stem(path: str) -> None:
    """
    A ledger may have been edited: nothing is removed or written where it leads.
    """
    assert stem_of_path(path) is None
