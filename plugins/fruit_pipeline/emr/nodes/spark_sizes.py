"""Says how Spark shares out the nodes of a cluster: executors on core and task nodes, the driver on the primary node.

A node works on as many tasks at once as it has vCPUs, and each has a Python worker of its own. All amounts follow from
the instance types, so a deployment chooses those and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fruit_contract.limits import DRIVER_BASE_BYTES, DRIVER_BYTES_AN_IMAGE, MOST_IMAGES_A_RUN, PYTHON_WORKER_BYTES
from fruit_pipeline.emr.nodes.instance_types import vcpus
from fruit_pipeline.errors import UnfitInstanceTypeError

if TYPE_CHECKING:
    from fruit_pipeline.emr.nodes.instance_types import InstanceType
    from fruit_pipeline.settings import Settings

MIB: Final = 1024 * 1024

# In client mode the application master only asks YARN for containers. These are Spark's own defaults, written out
# because room is kept for them.
MASTER_HEAP_MIB: Final = 512
MASTER_OVERHEAD_MIB: Final = 384
MASTER_MIB: Final = MASTER_HEAP_MIB + MASTER_OVERHEAD_MIB
# YARN rounds what a container asks for up to a multiple of this.
YARN_GRAIN_MIB: Final = 32

# Of 64 GiB that AWS sells, Linux sees about 61. YARN gets that without a quarter (8 GiB at most), in whole half GiB: by
# this rule no type gets more than EMR's own default, which differs between types of one size (12,288 MiB on m5.xlarge,
# 11,712 on m6g.xlarge).
_SEEN_OF_64: Final = 61
_MOST_BESIDE_YARN_MIB: Final = 8 * 1024
_YARN_STEP_MIB: Final = 512

# Every size from xlarge on has a multiple of four vCPUs.
_CORES: Final = 4
# A Java process takes so much beside its heap; the parent of an executor's Python workers is counted there, too.
_BESIDE_HEAP_MIB: Final = 512
_LARGEST_HEAP_SHARE: Final = 0.4
_LEAST_HEAP_MIB: Final = 1024
_PYTHON_WORKER_MIB: Final = -(-PYTHON_WORKER_BYTES // MIB)

# EMR's and Hadoop's own processes on the primary node: resource manager, name node, history servers, instance
# controller.
_PRIMARY_DAEMONS_MIB: Final = 4 * 1024
_DRIVER_HEAP_SHARE: Final = 6
_DRIVER_HEAP_STEP_MIB: Final = 256
_LEAST_DRIVER_HEAP_MIB: Final = 2 * 1024
_MOST_DRIVER_HEAP_MIB: Final = 8 * 1024


@dataclass(frozen=True)
class ExecutorSizes:
    """Holds the sizes of the executors of a node. `overhead_mib` is for Python workers and what Java takes beside its
    heap.

    `a_node` is how many executors a node has, `yarn_mib` what YARN may give away on it.
    """

    cores: int
    heap_mib: int
    overhead_mib: int
    a_node: int
    yarn_mib: int

    @property
    def container_mib(self) -> int:
        return self.heap_mib + self.overhead_mib


@dataclass(frozen=True)
class DriverSizes:
    """Holds how the driver shares its memory. `heap_mib` is Java's, of which the results of a job may take
    `max_result_mib`; `python_mib` is left for Python.
    """

    heap_mib: int
    max_result_mib: int
    python_mib: int


def executor_sizes(node: InstanceType) -> ExecutorSizes:
    """Returns the executors that use all vCPUs of a node and leave room for the application master.

    Raises UnfitInstanceTypeError if the node has too little memory for them.
    """
    cores = min(_CORES, node.vcpus)
    a_node = node.vcpus // cores
    seen_mib = _seen_mib(node)
    yarn_mib = _rounded_down(seen_mib - min(seen_mib // 4, _MOST_BESIDE_YARN_MIB), _YARN_STEP_MIB)
    container_mib = _rounded_down((yarn_mib - MASTER_MIB) // a_node, YARN_GRAIN_MIB)
    without_python_mib = container_mib - cores * _PYTHON_WORKER_MIB - _BESIDE_HEAP_MIB
    heap_mib = min(int(container_mib * _LARGEST_HEAP_SHARE), without_python_mib)
    if heap_mib < _LEAST_HEAP_MIB:
        raise UnfitInstanceTypeError(
            f"'{node.name}' has too little memory ({node.memory_mib // 1024} GiB) for {node.vcpus} Python workers and "
            f"Spark beside them. Set {node.setting} to a larger type, for example m5.xlarge."
        )
    return ExecutorSizes(cores, heap_mib, container_mib - heap_mib, a_node, yarn_mib)


def driver_sizes(primary: InstanceType) -> DriverSizes:
    """Returns how the driver's Java and Python share the primary node with Hadoop's own processes.

    Java gets a sixth of the node, from 2 to 8 GiB: only counts and small results pass through it. Python, which reads
    the ledgers, gets the rest. Raises UnfitInstanceTypeError if nothing is left for it.
    """
    share_mib = _rounded_down(primary.memory_mib // _DRIVER_HEAP_SHARE, _DRIVER_HEAP_STEP_MIB)
    heap_mib = min(max(share_mib, _LEAST_DRIVER_HEAP_MIB), _MOST_DRIVER_HEAP_MIB)
    python_mib = _seen_mib(primary) - _PRIMARY_DAEMONS_MIB - heap_mib - _BESIDE_HEAP_MIB
    if python_mib * MIB <= DRIVER_BASE_BYTES:
        raise UnfitInstanceTypeError(
            f"'{primary.name}' has too little memory ({primary.memory_mib // 1024} GiB) for Spark's driver beside "
            f"Hadoop's own processes. Set {primary.setting} to a larger type, for example m5.xlarge."
        )
    return DriverSizes(heap_mib, heap_mib // 2, python_mib)


def most_images_a_run(primary: InstanceType) -> int:
    """Returns how many images a run's dates may have together, by the memory of the driver's Python; at most
    MOST_IMAGES_A_RUN.

    Raises UnfitInstanceTypeError if the driver does not fit at all.
    """
    for_images = driver_sizes(primary).python_mib * MIB - DRIVER_BASE_BYTES
    return min(MOST_IMAGES_A_RUN, for_images // DRIVER_BYTES_AN_IMAGE)


def _seen_mib(node: InstanceType) -> int:
    return node.memory_mib * _SEEN_OF_64 // 64


def _rounded_down(amount: int, step: int) -> int:
    return amount // step * step


def task_slots(settings: Settings, working_nodes: int) -> int:
    """Returns how many tasks that many core and task nodes work on at once, which is one for each vCPU."""
    return vcpus(settings.core_instance_type) * working_nodes
