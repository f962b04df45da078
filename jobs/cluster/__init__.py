"""The cluster on one machine: real servers on 127.0.0.1, started, found and ended by ``infra/``."""
