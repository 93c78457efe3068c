"""Every option's wrong value ends with one sentence, status 2, and nothing begun."""

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from brainseg.cli.main import main, run
from brainseg.config.sweep import Sweep
from brainseg.data.phantom import write_phantoms

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data") / "p", patients=6, slices=3, size=32)


@pytest.fixture
def refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Callable[[], None]], str]:
    """What a command says when it refuses: one line."""
    monkeypatch.chdir(tmp_path)

    def said_by(command: Callable[[], None]) -> str:
        with pytest.raises(SystemExit) as ended:
            command()
        text = capsys.readouterr().err
        assert ended.value.code == 2 and text.startswith("brainseg: "), text
        assert text.count("\n") == 1, text
        assert not list(tmp_path.glob("runs/*/trials.jsonl"))
        return text

    return said_by


def script(name: str) -> Sweep:
    sweep = runpy.run_path(str(ROOT / "sweeps" / f"{name}.py"))["sweep"]
    assert isinstance(sweep, Sweep)
    return sweep


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--data=nowhere", "root must be a folder of slices, nowhere does not exist"),
        ("--data=s3://key:secret@bucket/x", "must hold no credentials"),
        ("--layout=dicom", "a layout must be one of auto, lgg, "),
        ("--layout=nifti", "root must hold slices as <PATIENT>/*.nii.gz"),
        ("--storage=/dev/null/runs", "/dev/null/runs"),
        (
            "--name=" + "a" * 300,
            "--name must have at most 128 characters, it names a folder",
        ),
        ("--name=", "--name needs a value, got an empty one"),
        ("--data=", "--data needs a value, got an empty one"),
        ("--weights= ", "--weights needs a value, got an empty one"),
        ("--address=", "--address needs a value, got an empty one"),
        ("--name=a\nb", r"--name must start with a letter or digit and hold only letters, digits"),
        ("--name=a/b", "--name must start with a letter or digit"),
        ("--split=halves", "got 'halves'"),
        ("--split=no.csv", "a table must be a readable file"),
        ("--validation=x", "--validation must be a number, got 'x'"),
        ("--validation=2", "validation must be above 0, test at least 0"),
        ("--test=-1", "got 0.2 and -1.0"),
        ("--split-seed=x", "--split-seed must be a whole number, got 'x'"),
        ("--split-seed=-1", "a split's seed must be at least 0, got -1"),
        ("--folds=x", "--folds must be a whole number"),
        ("--folds=1", "folds must be at least 2, or 0 for none, got 1"),
        ("--folds=50", "there are 6 for 50 folds; "),
        ("--seeds=0,x", "--seeds must be whole numbers with commas between them"),
        ("--seeds=0,1", "--seeds is for sweeps that run a fixed list"),
        ("--seed=x", "--seed must be a whole number"),
        ("--seed=-1", "seed must be from 0 to 2147483647, got -1"),
        ("--epochs=x", "--epochs must be a whole number"),
        ("--epochs=0", "epochs must be at least 1, got 0"),
        ("--image-size=1073741824", "image_size must be from 1 to 8192, got 1073741824"),
        ("--set=batch_size=2147483647", "batch_size must be from 1 to 65536, got 2147483647"),
        ("--set=model.plain.width=99999", "model.plain.width must be from 1 to 2048, got 99999"),
        ("--image-size=3", "image_size must be a multiple of 32 for this network, got 3; try 32"),
        ("--image-size=33", "image_size must be a multiple of"),
        ("--encoders=vgg61", "there is no encoder 'vgg61'; did you mean"),
        ("--weights=no/such.pth", "no/such.pth"),
        ("--set=epochs", "expected path=value, got 'epochs'"),
        ("--set=epochs=x", "epochs must be a whole number, got 'x'"),
        ("--set=epochs=", "epochs must be a whole number, got ''"),
        ("--set=epochs=1e3", "epochs must be a whole number, got '1e3'"),
        ("--set=epochs=" + "9" * 400, "epochs must be a number below 2147483648, got 999"),
        ("--set=sync_batch_norm=yes", "sync_batch_norm must be true or false, got 'yes'"),
        ("--set=optimizer.adamw.lr=nan", "optimizer.adamw.lr must be a finite number, got nan"),
        ("--set=optimizer.adamw.lr=1e400", "optimizer.adamw.lr must be a finite number, got inf"),
        ("--set=optimizer.adamw.weight_decay=inf", "weight_decay must be a finite number, got inf"),
        ("--set=epoch=3", "there is no hyperparameter 'epoch'; did you mean 'epochs'?"),
        ("--try=model=transformer", "model must be one of encoder, plain"),
        ("--trials=x", "--trials must be a whole number"),
        ("--trials=1e3", "--trials must be a whole number, got '1e3'"),
        ("--trials=99999999999", "--trials must be a number below 2147483648, got '99999999999'"),
        ("--epochs=" + "9" * 400, "--epochs must be a number below 2147483648, got '999"),
        ("--trials=0", "trials must be at least 1, got 0"),
        ("--hours=x", "--hours must be a number"),
        ("--hours=0", "hours must be above 0, got 0.0"),
        ("--hours=nan", "--hours must be a finite number, got 'nan'"),
        ("--hours=1e400", "--hours must be a finite number, got '1e400'"),
        ("--wait=inf", "--wait must be a finite number, got 'inf'"),
        ("--device-hours=-1", "device_hours must be above 0, got -1.0"),
        ("--patience=-1", "patience must be at least 0, got -1"),
        ("--patience=99", "patience must be below the"),
        ("--grace=0", "grace_epochs must be at least 1, got 0"),
        ("--sampler=tpee", "--sampler must be gp, tpe or random, got 'tpee'; did you mean 'tpe'?"),
        ("--objectives=dice,speed", "got 'speed'"),
        ("--from=no/such", "no/such holds no sweep.json"),
        ("--workers=x", "--workers must be a whole number"),
        ("--workers=0", "workers must be at least 1, got 0"),
        ("--gpus-per-worker=x", "--gpus-per-worker must be a number"),
        ("--gpus-per-worker=1.5", "must be a share of one GPU, as 0.5, or a whole number"),
        ("--concurrent=0", "concurrent must be at least 1, got 0"),
        ("--address=nonsense", "a cluster's address must be HOST:PORT"),
        ("--address=127.0.0.1:9", "nothing answers at 127.0.0.1:9"),
        ("--wait=-1", "wait must be at least 0 minutes, got -1"),
        ("--stall-minutes=-1", "stall-minutes must be at least 0, got -1"),
        ("--checkpoint-every=-1", "checkpoint-every must be at least 0 seconds, got -1"),
        ("--wandb=maybe", "--wandb must be online, offline or off, got 'maybe'"),
        ("--foldz=3", "there is no option --foldz; did you mean '--folds'"),
        ("--trials", "--trials needs a value"),
        ("extra", "'extra' is one argument too many; see `"),
    ],
)
def test_of_a_search_sweep(
    patients: Path, refusal: Callable[[Callable[[], None]], str], words: str, sentence: str
) -> None:
    usual = ["--smoke", f"--data={patients}", "--storage=runs", "--wandb=off"]
    assert sentence in refusal(lambda: run(script("encoders"), [*usual, words]))


@pytest.mark.parametrize(
    "words",
    ["--encoders=vgg16", "--grace=3", "--sampler=gp", "--patience=2", "--terminator", "--from=x"],
)
def test_of_a_fixed_list_options_of_a_search(
    refusal: Callable[[Callable[[], None]], str], words: str
) -> None:
    text = refusal(lambda: run(script("freezing"), ["--smoke", words]))
    option = words.partition("=")[0]
    assert f"{option} is for search sweeps, this one runs a fixed list of configurations" in text


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("", "COMMAND must be given; see `brainseg --help`"),
        ("trian", "there is no command 'trian'; did you mean 'train'?"),
        ("phantom", "FOLDER must be given; see `brainseg phantom --help`"),
        ("phantom p --patients=0", "patients must be at least 1, got 0"),
        ("phantom p --slices=0", "slices must be at least 3, got 0"),
        ("phantom p --size=3", "size must be at least"),
        ("phantom p --seed=-1", "seed must be at least 0, got -1"),
        ("phantom /dev/null/p", "/dev/null/p"),
        ("check EMPTY", "DATA needs a value, got an empty one"),
        ("report EMPTY", "RUN needs a value, got an empty one"),
        ("split DATA --out=", "--out needs a value, got an empty one"),
        ("check nowhere", "nowhere does not exist"),
        ("check DATA --layout=dicom", "a layout must be one of"),
        ("check DATA --html=no/x.html", "--html must name a file in a folder that exists"),
        ("check DATA --png=no/x.png", "--png must name a file in a folder that exists"),
        ("check DATA --png=x --html=y", "--html cannot be combined with --png"),
        ("split DATA --out=no/x.csv", "--out must name a file in a folder that exists"),
        ("split DATA --out=x.txt", "--out must name a file that ends in .csv"),
        ("split DATA --folds=9", "for 9 folds; "),
        ("encoders vgg61", "there is no encoder that matches 'vgg61'"),
        ("encoders vgg11 --csv=no/x", "--csv must name a file in a folder that exists"),
        ("weights fetch resnet81", "there is no encoder 'resnet81'"),
        ("weights fetch medical:none", "there are no medical weights 'none'"),
        ("weights fetch resnet18 --weights=best", "best"),
        ("weights fetch resnet18 --from=x", "--from is for medical weights"),
        (
            "weights fetch radimagenet-resnet50 --accept-terms --from=no/file",
            "no/file",
        ),
        ("lr-range --data=DATA --weights=none --steps=5", "takes at least 10 steps, got 5"),
        ("lr-range --data=DATA --weights=none --lowest=20", "from a rate above 0 to a higher one"),
        ("lr-range --data=DATA --weights=none --highest=x", "--highest must be a number, got 'x'"),
        (
            "lr-range --data=DATA --weights=none --out=/dev/null/x",
            "--out names a folder to write into",
        ),
        ("plan nowhere.py", "SCRIPT must be a sweep such as sweeps/encoders.py"),
        ("plan ENCODERS --measure=0", "--measure must be at least 1, got 0"),
        ("plan ENCODERS --json=no/x", "--json must name a file in a folder that exists"),
        ("report nowhere", "RUN must be a sweep's folder, nowhere holds no sweep.json"),
        ("compare nowhere", "RUN must be a sweep's folder, nowhere holds no sweep.json"),
        ("confirm nowhere", "RUN must be a sweep's folder, nowhere holds no sweep.json"),
        ("confirm nowhere --seeds=,", "--seeds must be whole numbers"),
        ("confirm nowhere --seeds=", "--seeds needs a value, got an empty one"),
        ("compare nowhere --margin=x", "--margin must be a number, got 'x'"),
        ("doctor --json=no/x", "--json must name a file in a folder that exists"),
        ("doctor --storage=s3://b/x", "--storage is a folder, got an address"),
    ],
)
def test_of_the_other_commands(
    patients: Path, refusal: Callable[[Callable[[], None]], str], command: str, sentence: str
) -> None:
    places = {"DATA": str(patients), "ENCODERS": str(ROOT / "sweeps" / "encoders.py")}
    for name, place in places.items():
        command = command.replace(name, place)
    words = ["" if word == "EMPTY" else word for word in command.split()]
    assert sentence in refusal(lambda: main(words))
