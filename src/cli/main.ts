#!/usr/bin/env node
/** The command; placeholder until its verbs stand. */
export {};
