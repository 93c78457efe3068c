"""What a doctor says of what was seen: all findings, problems last, and a verdict before them."""

from brainseg.doctor.check_machines import machines
from brainseg.doctor.check_services import outside
from brainseg.doctor.check_software import software
from brainseg.doctor.collect import Seen
from brainseg.doctor.findings import Finding

ORDER = ("ok", "note", "problem")


def diagnose(seen: Seen) -> list[Finding]:
    """All findings: what is fine, then notes, then problems, where a terminal ends."""
    found = [*machines(seen), *software(seen), *outside(seen)]
    return sorted(found, key=lambda finding: ORDER.index(finding.level))


def verdict(findings: list[Finding], seen: Seen) -> str:
    """One line: is it ready?"""
    problems = sum(finding.level == "problem" for finding in findings)
    notes = sum(finding.level == "note" for finding in findings)
    nodes = len(seen.nodes) + len(seen.failed)
    where = f"the cluster at {seen.cluster}, {nodes} node(s)" if seen.cluster else "this machine"
    if problems:
        return f"{problems} problem(s) on {where}, named last; {notes} note(s)"
    return f"no problem found on {where}; {notes} note(s)"
