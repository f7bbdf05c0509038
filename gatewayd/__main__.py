"""`python -m gatewayd`."""

from gatewayd.cli import main

raise SystemExit(main())
