"""All stages, once, in the order of the pipeline. A new one needs a line here and a file beside this one."""

from sfserver.stages.audio import AUDIO
from sfserver.stages.encode import ENCODE
from sfserver.stages.package import PACKAGE
from sfserver.stages.poster import POSTER
from sfserver.stages.probe import PROBE
from sfserver.tasks.stage import Stages

STAGES = Stages([PROBE, ENCODE, AUDIO, PACKAGE, POSTER])
