"""Tandem: one control plane for predictive and generative AI.

The floors of the house, highest first. A package imports only what stands below its line: never
beside it, never above. `tests/architecture` keeps this list equal to the import-linter contract.

    cli
    app
    settings
    api | console | mock
    pipelines
    decisions
    training | monitoring
    evaluation | batches
    serving
    data
    gateway
    registry
    governance
    jobs
    observability
    scorers | store
    core
"""

__version__ = "0.1.0"
