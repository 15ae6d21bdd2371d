"""PBXs and providers: reachability, places taken, registrations, accounts at their registrars."""
