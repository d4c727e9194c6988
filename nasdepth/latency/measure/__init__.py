"""Measuring on a device: which kernels and networks, how they are timed, building and validating a table."""

from nasdepth.latency.measure.build import BuildStopped, build_table, table_name
from nasdepth.latency.measure.pace import BuildPlan
from nasdepth.latency.measure.plan import plan_kernels
from nasdepth.latency.measure.validate import Checked, Report, validate_table

__all__ = [
    "BuildPlan",
    "BuildStopped",
    "Checked",
    "Report",
    "build_table",
    "plan_kernels",
    "table_name",
    "validate_table",
]
