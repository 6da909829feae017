"""What is allowed at the edges only: catching everything, reading the environment, building settings."""

import ast

from tests.architecture.source import ROOT, Module, dotted, parse, violations

CATCH_ALL = {
    "sfserver/infra/effects.py": "what follows a commit",
    "sfserver/infra/outbox.py": "one bell or event",
    "sfserver/tasks/attempt.py": "an attempt",
    "sfserver/tasks/runner.py": "a beat or a sweep",
    "sfserver/tasks/slots.py": "a slot",
    "sfserver/media/sandbox/child.py": "a media process",
    "sfctl/main.py": "a command",
}
READ_ENVIRONMENT = {
    "sfserver/__main__.py": "composition root",
    "sfserver/media/sandbox/process.py": "keeps it from the children: it may hold secrets",
    "sfctl/context.py": "the client's injectable environment",
}


def caught(handler: ast.ExceptHandler) -> set[str]:
    if handler.type is None:
        return {"BaseException"}
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return {dotted(item) for item in types}


def careless_handlers(module: Module) -> list[str]:
    forbidden = {"BaseException"} if module.name in CATCH_ALL else {"BaseException", "Exception"}
    handlers = [node for node in ast.walk(module.tree) if isinstance(node, ast.ExceptHandler)]
    return [f"{module.name}:{handler.lineno}" for handler in handlers if caught(handler) & forbidden]


def careless_suppressions(module: Module) -> list[str]:
    calls = [node for node in ast.walk(module.tree) if isinstance(node, ast.Call)]
    named = [call for call in calls if dotted(call.func).split(".")[-1] == "suppress"]
    wide = [call for call in named if {dotted(item) for item in call.args} & {"Exception", "BaseException"}]
    return [f"{module.name}:{call.lineno}" for call in wide]


def environment_reads(module: Module) -> list[str]:
    if module.name in READ_ENVIRONMENT:
        return []
    names = {"os.environ", "os.getenv", "os.environb", "environ", "getenv"}
    reads = [node for node in ast.walk(module.tree) if dotted(node) in names]
    settings = [
        node for node in ast.walk(module.tree) if isinstance(node, ast.Call) and dotted(node.func) == "Settings"
    ]
    return [f"{module.name}:{node.lineno}" for node in [*reads, *settings]]  # type: ignore[attr-defined]


def test_only_edges_catch_everything() -> None:
    assert violations(careless_handlers) + violations(careless_suppressions) == []


def test_what_is_allowed_exists() -> None:
    assert {name for name in {**CATCH_ALL, **READ_ENVIRONMENT} if not (ROOT / name).exists()} == set()


def test_only_composition_roots_read_the_environment() -> None:
    assert violations(environment_reads) == []


def test_the_rules_see_what_is_careless() -> None:
    catch = "try: pass\nexcept {}: pass"
    assert careless_handlers(parse(catch.format("(OSError, Exception)")))
    assert careless_handlers(parse("try: pass\nexcept: pass"))
    assert careless_handlers(parse(catch.format("BaseException"), "sfctl/main.py"))
    assert not careless_handlers(parse(catch.format("Exception"), "sfctl/main.py"))
    assert careless_suppressions(parse("with contextlib.suppress(Exception): pass"))
    assert environment_reads(parse("import os\nos.environ['HOME']"))
    assert environment_reads(parse("x = Settings()"))
