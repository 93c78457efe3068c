"""All findings that follow from the evidence, problems last, and a verdict in one line."""

from brainseg.doctor.check_machines import check_machines
from brainseg.doctor.check_precision import check_precision
from brainseg.doctor.check_services import check_services
from brainseg.doctor.check_software import check_software
from brainseg.doctor.collect import Evidence
from brainseg.doctor.findings import Finding

ORDER = ("ok", "note", "problem")


def diagnose(evidence: Evidence) -> list[Finding]:
    """Passed checks, then notes, then problems: a terminal shows the end."""
    findings = [
        *check_machines(evidence),
        *check_software(evidence),
        *check_precision(evidence),
        *check_services(evidence),
    ]
    return sorted(findings, key=lambda finding: ORDER.index(finding.level))


def verdict(findings: list[Finding], evidence: Evidence) -> str:
    """One line: is it ready?"""
    problems = sum(finding.level == "problem" for finding in findings)
    notes = sum(finding.level == "note" for finding in findings)
    nodes = len(evidence.nodes) + len(evidence.failed)
    where = (
        f"the cluster at {evidence.cluster}, {nodes} node(s)"
        if evidence.cluster
        else "this machine"
    )
    if problems:
        return f"{problems} problem(s) on {where}, named last; {notes} note(s)"
    return f"no problem found on {where}; {notes} note(s)"
