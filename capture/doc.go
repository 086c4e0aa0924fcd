// Package capture runs a model on prompts and records in a dump what its heads attend
// to: the attention weights of the prompt's last rows and of every row of the reply,
// and the weights summed over the prompt's rows. It never holds a whole prompt x
// prompt map: the weights of a few queries are summed as soon as they are computed.
//
//	src, err := capture.Open(ctx, "model.gguf", capture.Options{})
//	if err != nil {
//		return err
//	}
//	defer src.Close()
//	if err := src.Load(ctx); err != nil {
//		return err
//	}
//	header, err := capture.NewHeader(src, plan, list, dumps.Manifest{})
//	if err != nil {
//		return err
//	}
//	summary, err := capture.Run(ctx, capture.Config{
//		Model: src.Model, Prompts: list, Out: "run.attn", Header: header,
//	})
//
// Where to look: open.go opens a model, run.go goes through the prompts, prompt.go
// runs one of them, and recorder.go turns the attention of the model into the blocks
// of the dump.
package capture
