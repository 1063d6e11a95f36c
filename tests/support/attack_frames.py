# ruff: noqa: E501 - an attack a line
"""Attacks by what a plugin says to the harness, and by changing the code around it: nothing of it is believed."""

from __future__ import annotations

from attacks import ON_THE_SYSTEM, Attack


def _distrusted(name: str, body: str, *says: str, at_import: bool = False) -> Attack:
    return Attack(name, body, "distrusted", says or ("no answer",), at_import)


HANG = "\ntime.sleep(60)"
DISTRUSTED = [
    # false frames from the first byte of the plugin's life on
    _distrusted("loaded, with protections of its own", "frame('{\"say\":\"loaded\",\"kind\":\"scores\",\"needs\":\"nothing\",\"protections\":{\"x\":true}}')" + HANG, at_import=True),
    _distrusted("confined, once more", "frame('{\"say\":\"confined\",\"protections\":{\"limits\":false}}')" + HANG, at_import=True),
    _distrusted("loaded, of no kind", "frame('{\"say\":\"loaded\",\"kind\":\"oracle\",\"needs\":\"nothing\"}')" + HANG, at_import=True),
    _distrusted("loaded, as a hook", "frame('{\"say\":\"loaded\",\"kind\":\"hook\",\"needs\":\"nothing\"}')" + HANG, at_import=True),
    _distrusted("loaded, needing the training set", "frame('{\"say\":\"loaded\",\"kind\":\"scores\",\"needs\":\"training set\"}')" + HANG, at_import=True),
    _distrusted("an answer before the question", "frame(ANSWER)" + HANG, at_import=True),
    _distrusted("a length without end", "os.write(3, b'\\xff' * 12)" + HANG, "announced", at_import=True),
    _distrusted("a payload where none is due", "os.write(3, struct.pack('!IQ', 2, 1 << 62))" + HANG, "announced", at_import=True),
    _distrusted("no bytes of text", "frame(b'\\xff\\xfe' * 50)" + HANG, at_import=True),
    _distrusted("deep nesting", "frame(b'[' * 200000)" + HANG, at_import=True),
    _distrusted("deep nesting of objects", "frame(b'{\"say\":' * 30000)" + HANG, at_import=True),
    _distrusted("a number of many digits", "frame(b'{\"say\":' + b'9' * 100000 + b'}')" + HANG, at_import=True),
    _distrusted("a null", "frame('null')" + HANG, at_import=True),
    _distrusted("a list", "frame('[\"loaded\"]')" + HANG, at_import=True),
    _distrusted("silence", HANG, "took longer", at_import=True),
    _distrusted("an early exit", "os._exit(0)", "exit code 0", at_import=True),
    _distrusted("half a frame", "os.write(3, b'\\0\\0\\0'); os._exit(0)", "exit code 0", at_import=True),
    _distrusted("a refusal in colours", "frame('{\"say\":\"refusal\",\"cause\":\"\\\\u001b[2Jred\",\"fix\":\"x\"}')" + HANG, "[2Jred", at_import=True),
    _distrusted("a refusal too long", "frame('{\"say\":\"refusal\",\"cause\":\"' + 'x' * 9999 + '\",\"fix\":\"x\"}')" + HANG, at_import=True),
    # answers
    _distrusted("counts of passes below zero", "frame(ANSWER.replace('0', '-1'))" + HANG),
    _distrusted("counts of passes without end", "frame(ANSWER.replace('0', '1' * 4000))" + HANG),
    _distrusted("counts that are no numbers", "frame(ANSWER.replace('0', 'NaN'))" + HANG),
    _distrusted("a field twice and one more", "frame(ANSWER[:-1] + ',\"accuracy\":100}')" + HANG),
    _distrusted("no tensors", "frame(ANSWER)" + HANG, "cannot be read"),
    _distrusted("a header longer than all", "frame(ANSWER, struct.pack('<Q', 1 << 63))" + HANG, "cannot be read"),
    _distrusted("a header that is no JSON", "frame(ANSWER, struct.pack('<Q', 4) + b'abcd')" + HANG, "cannot be read"),
]  # fmt: skip


def _tensors(header: str, data: str = "bytes(4000)") -> str:
    return f"h = {header!r}.encode()\nframe(ANSWER, struct.pack('<Q', len(h)) + h + {data})" + HANG


FC1 = '"fc1.weight":{"dtype":"F64","shape":[16,12],"data_offsets":'
DISTRUSTED += [
    _distrusted("tensors that overlap", _tensors("{" + FC1 + '[0,1536]},"fc2.weight":{"dtype":"F64","shape":[8,16],"data_offsets":[0,1024]}}'), "cannot be read"),
    _distrusted("a tensor beyond the end", _tensors("{" + FC1 + "[0,999999]}}"), "cannot be read"),
    _distrusted("a tensor that ends before it begins", _tensors("{" + FC1 + "[1536,0]}}"), "cannot be read"),
    _distrusted("a shape that overflows", _tensors('{"fc1.weight":{"dtype":"F64","shape":[4294967296,4294967296],"data_offsets":[0,0]}}'), "cannot be read"),
    _distrusted("a negative shape", _tensors('{"fc1.weight":{"dtype":"F64","shape":[-1],"data_offsets":[0,8]}}'), "cannot be read"),
    _distrusted("a type that is none", _tensors('{"fc1.weight":{"dtype":"PICKLE","shape":[1],"data_offsets":[0,8]}}'), "cannot be read"),
    _distrusted("names without number", "scores = {f'x{n}': torch.zeros(0) for n in range(900)}\nframe(ANSWER, wire.pack(scores))" + HANG, "no scores for", "announced"),
    _distrusted("a pickle", "import pickle\nframe(ANSWER, pickle.dumps(scores))" + HANG, "cannot be read", "announced"),
    # changing what runs around it
    _distrusted("checks replaced", "import benchmark.plugins.sandbox.plugin_process as p\np.check_scores = lambda *a: None\nscores['fc1.weight'][0, 0] = float('nan')", "NaN"),
    _distrusted("packing replaced", "import benchmark.plugins.sandbox.plugin_process as p\np.pack = lambda t: b'x' * 99", "cannot be read"),
    _distrusted("topk replaced", "import benchmark.pruning.topk as t\nt.keep_top = None\ndel scores['fc1.weight']", "no scores for"),
    _distrusted("json replaced", "import pydantic\npydantic.BaseModel.model_dump_json = lambda s, **k: '[]'", "no answer"),
    _distrusted("an importer put in front", "sys.meta_path.insert(0, type('I', (), {'find_spec': lambda *a: os._exit(5)})())\nimport no_such", "exit code 5"),
    _distrusted("exit handlers that hang", "import atexit\natexit.register(time.sleep, 60)\nsys.exit(3)", "SystemExit"),
    _distrusted("an exception that lies", "raise type('E', (Exception,), {'__str__': lambda s: '\\x1b]0;owned\\a' + 'x' * 9999})()", "raised E"),
    _distrusted("budgets in place of scores", "frame(ANSWER, wire.pack({'fc1.weight': torch.tensor(1j)}))" + HANG, "no scores", "shape"),
]  # fmt: skip

ATTACKS = [*ON_THE_SYSTEM, *DISTRUSTED]
