"""tools/check_machine_code.py, from made-up listings: each rule kept, and each rule broken."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "tools" / "check_machine_code.py"

# Mangled names of kernels in reprise::kernels::cuda, and the start of one form of their template arguments.
SOFTMAX = "_ZN7reprise7kernels4cuda22softmax_forward_kernelIf{}EEvPT_"
PACKED = SOFTMAX.format("NS1_8RowShapeILi4ELi4ELb1ELb0EEE")
SINGLE = SOFTMAX.format("NS1_8RowShapeILi1ELi8ELb1ELb0EEE")
ATTENTION = "_ZN7reprise7kernels4cuda9attention14forward_kernelI6__halfLi64ELb0EEEvPT_"
WIDEST = ATTENTION.replace("Li64E", "Li128E")
POINTWISE = "_ZN7reprise7kernels4cuda11pack_kernelIfEEvPT_"
GATHER = "_ZN7reprise7kernels4cuda18gather_rows_kernelIjEEvPT_"

LOADS = [f"LDG.E.128.CONSTANT R{register}, desc[UR4][R2.64]" for register in (4, 8, 12, 16)]
WIDE = [*LOADS, "FADD R20, R4, R8", "STG.E.128"]
WAITING = [*LOADS[:2], "FADD R20, R4, R3", *LOADS[2:], "STG.E.128"]
TENSOR = ["LDGSTS.E.BYPASS.128", "LDSM.16.M88.4", "HMMA.16816.F32", "STG.E.128", "LDG.E.128"]


def listing(symbol: str, instructions: list[str], stack: int = 0) -> str:
    lines = [instruction if " " in instruction else f"{instruction} R1, R2" for instruction in instructions]
    code = "\n".join(f"        /*{16 * i:04x}*/                   @!P0 {line} ;" for i, line in enumerate(lines))
    return (f"arch = sm_90\n Function {symbol}:\n  REG:28 STACK:{stack} SHARED:0 LOCAL:0 CONSTANT[0]:528\n"
            f"arch = sm_90\n\t\tFunction : {symbol}\n{code}\n")


def check(text: str) -> tuple[int, str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "listing"
        path.write_text(text)
        command = [sys.executable, str(SCRIPT), "program", "--table", "--listing", str(path)]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr


class MachineCode(unittest.TestCase):
    def test_kernels_that_keep_the_rules(self) -> None:
        status, said = check(listing(PACKED, WIDE) + listing(SINGLE, ["LDG.E", "STG.E"]) + listing(ATTENTION, TENSOR))
        self.assertEqual(status, 0, said)
        self.assertRegex(said, r"softmax_forward_kernel +2 +28\.\.28 +- +- +4 +1\n")
        self.assertIn("3 kernels for sm_90: all keep the rules", said)

    def test_each_rule_broken(self) -> None:
        without = {name: [i for i in TENSOR if not i.startswith(name)] for name in ("HMMA", "LDSM", "LDGSTS")}
        for rule, text in {
            "local_memory": listing(PACKED, WIDE, stack=8),
            "local_memory ": listing(ATTENTION, TENSOR, stack=8),
            "local_memory  ": listing(WIDEST, TENSOR, stack=40),
            "atomics": listing(PACKED, [*WIDE, "RED.E.ADD.F32.FTZ.RN.STRONG.GPU"]),
            "atomics ": listing(PACKED, [*WIDE, "ATOMG.E.ADD.F16x2.RN.STRONG.GPU"]),
            "atomics  ": listing(PACKED, [*WIDE, "ATOMG.E.CAS.STRONG.GPU"]),
            "tensor_cores": listing(ATTENTION, without["HMMA"]),
            "tensor_cores ": listing(ATTENTION, without["LDSM"]),
            "tensor_cores  ": listing(ATTENTION, without["LDGSTS"]),
            "wide_accesses": listing(POINTWISE, ["LDG.E", "STG.E.128"]),
            "wide_accesses ": listing(PACKED, [*LOADS, "STG.E.64"]),
            "loads_ahead": listing(PACKED, WAITING),
        }.items():
            with self.subTest(rule):
                status, said = check(text)
                self.assertEqual(status, 1, said)
                self.assertIn(f"BROKEN [{rule.strip()}] sm_90", said)
                self.assertIn("1 kernels for sm_90: 1 rules broken", said)

    def test_what_is_allowed_by_name(self) -> None:
        status, said = check(listing(GATHER, ["ATOMG.E.CAS.STRONG.GPU", "LDG.E.128", "STG.E.128"])
                             + listing(WIDEST, TENSOR, stack=32))
        self.assertEqual(status, 0, said)

    def test_nothing_to_check_is_no_success(self) -> None:
        status, said = check("nothing\n")
        self.assertEqual(status, 2)
        self.assertIn("no kernels in program", said)


if __name__ == "__main__":
    unittest.main()
