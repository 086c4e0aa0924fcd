package main

import "github.com/urfave/cli/v2"

// commands lists every verb, in the order help shows them.
func commands() []*cli.Command {
	return []*cli.Command{
		demoCommand(),
		captureCommand(),
		infoCommand(),
		verifyCommand(),
		repairCommand(),
		mergeCommand(),
		submitCommand(),
		hitrateCommand(),
		snapkvCommand(),
		generateCommand(),
		leaderboardCommand(),
		adviseCommand(),
		reproduceCommand(),
		heatmapCommand(),
		figureCommand(),
		reportCommand(),
		viewCommand(),
		exportCommand(),
		citeCommand(),
		tokenizeCommand(),
		modelsCommand(),
		pullCommand(),
		completionCommand(),
		manCommand(),
		versionCommand(),
	}
}
